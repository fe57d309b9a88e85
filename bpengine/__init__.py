"""bpengine: a backpropagation engine. Hand-written kernels that run unchanged on NumPy, CuPy or JAX."""

from bpengine import data, layers
from bpengine.backend import Backend, backend_names, get_backend
from bpengine.errors import (
    BackendUnavailable,
    BpError,
    ConfigError,
    DataError,
    ModelFileError,
    NonFiniteError,
    ShapeError,
)
from bpengine.kernels import KERNELS
from bpengine.layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual, initializers
from bpengine.losses import Loss
from bpengine.model import Model, load
from bpengine.network import Network
from bpengine.penalties import L1, L2
from bpengine.training import (
    SGD,
    Adam,
    AdamW,
    Checkpoint,
    Constant,
    Cosine,
    Exponential,
    History,
    LossBelow,
    Momentum,
    Nesterov,
    NoImprovement,
    RMSProp,
    StepDecay,
    StepSizeBelow,
    WarmUp,
)

__version__ = "0.1.0"

__all__ = [
    "KERNELS",
    "L1",
    "L2",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Backend",
    "BackendUnavailable",
    "BatchNorm",
    "BpError",
    "Checkpoint",
    "ConfigError",
    "Constant",
    "Cosine",
    "DataError",
    "Dense",
    "Dropout",
    "Exponential",
    "History",
    "Layer",
    "LayerNorm",
    "Loss",
    "LossBelow",
    "Model",
    "ModelFileError",
    "Momentum",
    "Nesterov",
    "Network",
    "NoImprovement",
    "NonFiniteError",
    "RMSProp",
    "Residual",
    "ShapeError",
    "StepDecay",
    "StepSizeBelow",
    "WarmUp",
    "backend_names",
    "data",
    "get_backend",
    "initializers",
    "layers",
    "load",
]
