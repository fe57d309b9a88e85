"""The page: a recorded training run as one interactive HTML file."""

from bpengine.explain.page.document import Page
from bpengine.explain.page.record_run import page

__all__ = ["Page", "page"]
