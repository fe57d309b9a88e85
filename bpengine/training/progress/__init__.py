"""What a running fit shows: a bar on a terminal or in a notebook, lines in a log.

standing  the state of progress: steps and epochs done, rate and time left
views     bar, notebook and log
progress  updates the views while the fit runs
"""

from bpengine.training.progress.progress import Progress

__all__ = ["Progress"]
