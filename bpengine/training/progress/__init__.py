"""What a running fit shows: a bar on a terminal or in a notebook, lines in a log.

standing  where a fit is, its rate and the time left
views     where that is shown
progress  who is told, and how often
"""

from bpengine.training.progress.progress import Progress

__all__ = ["Progress"]
