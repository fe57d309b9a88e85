"""The page: a recorded training run as one HTML file, to be stepped through and pointed at."""

from bpengine.explain.page.document import Page
from bpengine.explain.page.record_run import page

__all__ = ["Page", "page"]
