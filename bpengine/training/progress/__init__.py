"""What a running fit shows: a bar on a terminal or in a notebook, lines in a log.

views     what is shown, and where: bar, notebook, log
progress  updates the views while the fit runs; rate and time left
"""

from bpengine.training.progress.progress import Progress

__all__ = ["Progress"]
