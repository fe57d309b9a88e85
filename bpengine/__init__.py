"""bpengine: a backpropagation engine. Hand-written kernels that run unchanged on NumPy, CuPy or JAX.

Names are loaded on first use, so that `import bpengine` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing is loaded with the first name that needs it
if TYPE_CHECKING:
    from bpengine import callbacks, check, data, examples, layers, training
    from bpengine.backend import Backend, backend_names, get_backend
    from bpengine.check import Comparison, GradientError, Report, check_gradients, compare_backends
    from bpengine.data import Features
    from bpengine.derivatives import jvp
    from bpengine.distributed import world
    from bpengine.errors import (
        BackendUnavailable,
        BpError,
        ConfigError,
        DataError,
        DeviceMemoryError,
        ModelFileError,
        NonFiniteError,
        RunInterrupted,
        ShapeError,
        WriteError,
    )
    from bpengine.explain import explain
    from bpengine.explain.gradient_flow.sensitivity import sensitivity
    from bpengine.explain.sweeps.sweep import sweep
    from bpengine.kernels import KERNELS
    from bpengine.layers import (
        Activation,
        BatchNorm,
        CustomActivation,
        Dense,
        Dropout,
        Layer,
        LayerNorm,
        Residual,
        initializers,
    )
    from bpengine.losses import CustomLoss, Loss
    from bpengine.many import ManyFits, OneFit, fit_many
    from bpengine.model import Model, load
    from bpengine.network import Network
    from bpengine.penalties import L1, L2
    from bpengine.system.chosen_language import language
    from bpengine.system.process_caches import clear_caches
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
        Metric,
        Momentum,
        Nesterov,
        NoImprovement,
        RMSProp,
        RunFolder,
        StepDecay,
        StepSizeBelow,
        WarmUp,
    )

__version__ = "0.1.0"

_NAMES_OF_MODULES = {
    "backend": "Backend backend_names get_backend",
    "check": "Comparison GradientError Report check_gradients compare_backends",
    "data": "Features",
    "derivatives": "jvp",
    "distributed": "world",
    "errors": (
        "BackendUnavailable BpError ConfigError DataError DeviceMemoryError ModelFileError NonFiniteError RunInterrupted "
        "ShapeError WriteError"
    ),
    "explain": "explain sensitivity sweep",
    "kernels": "KERNELS",
    "layers": "Activation BatchNorm CustomActivation Dense Dropout Layer LayerNorm Residual initializers",
    "losses": "CustomLoss Loss",
    "many": "ManyFits OneFit fit_many",
    "model": "Model load",
    "network": "Network",
    "penalties": "L1 L2",
    "system.chosen_language": "language",
    "system.process_caches": "clear_caches",
    "training": (
        "SGD Adam AdamW Checkpoint Constant Cosine Exponential History LossBelow Metric Momentum Nesterov NoImprovement "
        "RMSProp RunFolder StepDecay StepSizeBelow WarmUp"
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names.split()}

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
    "Comparison",
    "ConfigError",
    "Constant",
    "Cosine",
    "CustomActivation",
    "CustomLoss",
    "DataError",
    "Dense",
    "DeviceMemoryError",
    "Dropout",
    "Exponential",
    "Features",
    "GradientError",
    "History",
    "Layer",
    "LayerNorm",
    "Loss",
    "LossBelow",
    "ManyFits",
    "Metric",
    "Model",
    "ModelFileError",
    "Momentum",
    "Nesterov",
    "Network",
    "NoImprovement",
    "NonFiniteError",
    "OneFit",
    "RMSProp",
    "Report",
    "Residual",
    "RunFolder",
    "RunInterrupted",
    "ShapeError",
    "StepDecay",
    "StepSizeBelow",
    "WarmUp",
    "WriteError",
    "backend_names",
    "callbacks",
    "check",
    "check_gradients",
    "clear_caches",
    "compare_backends",
    "data",
    "examples",
    "explain",
    "fit_many",
    "get_backend",
    "initializers",
    "jvp",
    "language",
    "layers",
    "load",
    "sensitivity",
    "sweep",
    "training",
    "world",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULE_OF:
        value = getattr(import_module(f"bpengine.{_MODULE_OF[name]}"), name)
    elif name in __all__:
        value = import_module(f"bpengine.{name}")
    else:
        raise AttributeError(f"module 'bpengine' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
