"""Layers: frozen descriptions of what a network is built from; the mathematics lives in the kernels they call."""

from bpengine.layers import contract, initializers
from bpengine.layers.activation import Activation, CustomActivation
from bpengine.layers.dense import Dense
from bpengine.layers.dropout import Dropout
from bpengine.layers.layer import Layer, Run, Shapes
from bpengine.layers.normalization import BatchNorm, LayerNorm
from bpengine.layers.residual import Residual

LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Activation, BatchNorm, Dense, Dropout, LayerNorm, Residual)
}

contract.PROVEN.update((*LAYERS.values(), CustomActivation))

__all__ = [
    "LAYERS",
    "Activation",
    "BatchNorm",
    "CustomActivation",
    "Dense",
    "Dropout",
    "Layer",
    "LayerNorm",
    "Residual",
    "Run",
    "Shapes",
    "initializers",
]
