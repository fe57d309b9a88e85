"""KERNELS: the one table of the engine's mathematics. Each row lives in a file of its own, forward above backward."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bpengine.kernels import (
    accumulate,
    adam,
    adamw,
    add,
    advance,
    batch_norm,
    batch_norm_inference,
    binary_cross_entropy,
    categorical_cross_entropy,
    celu,
    clip_by_global_norm,
    dense,
    dense_bias_column,
    dense_no_bias,
    dense_transposed,
    dense_transposed_no_bias,
    divide,
    dropout,
    elu,
    gelu,
    gelu_tanh,
    global_norm,
    half_sum_squares,
    halt,
    hard_sigmoid,
    hard_tanh,
    huber,
    identity,
    l1,
    l2,
    layer_norm,
    leaky_relu,
    log_softmax,
    mean_absolute_error,
    mean_squared_error,
    mish,
    momentum,
    moving_average,
    nesterov,
    part_counter,
    relu,
    relu6,
    rmsprop,
    selu,
    sgd,
    sigmoid,
    sigmoid_cross_entropy,
    silu,
    smooth_labels,
    softmax,
    softmax_cross_entropy,
    softplus,
    softsign,
    step,
    step_size,
    sum_squared_residuals,
    tanh,
)
from bpengine.kernels._kernel import Cost, Kernel

_LAYERS = (
    *(dense, dense_no_bias, dense_bias_column, dense_transposed, dense_transposed_no_bias),
    *(dropout, batch_norm, batch_norm_inference, layer_norm, add, divide),
)
_ACTIVATIONS = (
    *(identity, sigmoid, hard_sigmoid, tanh, hard_tanh, softsign, relu, relu6, leaky_relu, elu, celu, selu),
    *(softplus, gelu, gelu_tanh, silu, mish, softmax, log_softmax, step),
)
_LOSSES = (
    *(sum_squared_residuals, half_sum_squares, mean_squared_error, mean_absolute_error, huber),
    *(binary_cross_entropy, sigmoid_cross_entropy, categorical_cross_entropy, softmax_cross_entropy),
)
_PENALTIES = (l2, l1)
_UPDATE_RULES = (sgd, momentum, nesterov, rmsprop, adam, adamw)
_HELPERS = (
    *(halt, global_norm, clip_by_global_norm, step_size, moving_average, advance, smooth_labels),
    *(accumulate, part_counter),
)

KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        module.KERNEL.name: module.KERNEL
        for module in (*_LAYERS, *_ACTIVATIONS, *_LOSSES, *_PENALTIES, *_UPDATE_RULES, *_HELPERS)
    }
)

__all__ = ["KERNELS", "Cost", "Kernel"]
