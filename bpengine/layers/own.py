"""Which layers are custom: their properties (batching, complex step, kinks) are unknown."""

from __future__ import annotations

from collections.abc import Iterable

from bpengine.layers import LAYERS, CustomActivation, Dense, Layer, Residual


def foreign(layers: Iterable[Layer]) -> str | None:
    """Return the name of the first layer that is not the engine's own, or None."""
    for layer in layers:
        if type(layer) is CustomActivation:
            return f"activation {layer.name!r}"
        if type(layer) not in (*LAYERS.values(), Layer):
            return type(layer).__name__
        within = layer.layers if isinstance(layer, Residual) else [layer.activation] if isinstance(layer, Dense) else []
        if inner := foreign(within):
            return inner
    return None
