"""Training: optimizers, schedules, stopping rules, the loop, and what it records."""

from bpengine.training.callbacks import Checkpoint
from bpengine.training.checkpoints.run_folder import RunFolder
from bpengine.training.history import Epoch, History
from bpengine.training.metrics.metric import Metric
from bpengine.training.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSProp
from bpengine.training.schedules import Constant, Cosine, Exponential, Schedule, StepDecay, WarmUp
from bpengine.training.stopping import LossBelow, NoImprovement, StepSizeBelow

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Checkpoint",
    "Constant",
    "Cosine",
    "Epoch",
    "Exponential",
    "History",
    "LossBelow",
    "Metric",
    "Momentum",
    "Nesterov",
    "NoImprovement",
    "Optimizer",
    "RMSProp",
    "RunFolder",
    "Schedule",
    "StepDecay",
    "StepSizeBelow",
    "WarmUp",
]
