"""Errors that a user can act on: each message names what, where, the rule and the remedy."""


class RawcnnError(Exception):
    """Base of every error that rawcnn raises for a user's mistake; the examples print it as one line."""


class DataError(RawcnnError, ValueError):
    """A file, image, label or data set that cannot be used as it is."""


class DownloadError(RawcnnError, OSError):
    """A data set that no mirror would give."""


class RunError(RawcnnError):
    """A run directory or a checkpoint that cannot be used as it is."""


class UsageError(RawcnnError, ValueError):
    """An argument or flag outside what the function accepts."""
