"""The page that opens a net: `write_report(run)` makes one HTML file of a run, readable without network or server."""

from rawcnn.report.write import write_report

__all__ = ["write_report"]
