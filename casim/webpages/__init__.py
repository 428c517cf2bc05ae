"""Pages: one HTML file each, which opens from the disk without a network or a kernel."""

from casim.webpages.report import Source, to_html

__all__ = ["Source", "to_html"]
