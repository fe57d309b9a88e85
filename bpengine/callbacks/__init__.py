"""Callbacks for `Model.fit(callbacks=...)`: logs, and saving the model during a fit.

A callback is any function of (model, epoch); a true result stops the fit. `docs/guides/logs.md` shows how to write one for
another tracker.
"""

from bpengine.callbacks.csv_log import CSVLog
from bpengine.callbacks.json_log import JSONLog
from bpengine.callbacks.tensorboard import TensorBoard
from bpengine.training.callbacks import Checkpoint

__all__ = ["CSVLog", "Checkpoint", "JSONLog", "TensorBoard"]
