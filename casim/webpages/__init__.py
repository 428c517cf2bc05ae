"""Pages: one HTML file each, which opens from the disk without a network or a kernel."""

from casim.webpages.explorer import to_html as explorer_html
from casim.webpages.report import Source
from casim.webpages.report import to_html as report_html

__all__ = ["Source", "explorer_html", "report_html"]
