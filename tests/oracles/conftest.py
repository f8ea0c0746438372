"""The twins are imported by the tests that use them: pytest itself need not, where Keras or PyTorch is missing."""

collect_ignore_glob = ["nets_*.py"]
