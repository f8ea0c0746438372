"""Who is told what happens while data are found, downloaded and read: a function of one line of text."""

from collections.abc import Callable

Log = Callable[[str], None]
"""`log(text)`; `print` unless another is given."""
