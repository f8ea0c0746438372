"""Packed images: a folder of image files as few large shards, for data sets of more files than a disk likes."""
