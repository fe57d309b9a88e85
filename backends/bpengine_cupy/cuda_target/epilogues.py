"""Products that include the operations after them: cuBLASLt's epilogues, where a step's passes have their form.

    y = max(x w + b, 0)           "relu_bias", or "relu_aux_bias" where the backward needs [y > 0]: a mask, one bit per element
    dx = (dy w') * [y > 0]        "drelu", or "drelu_bgrad" where dx is summed over the rows: the bias gradient

Second results of a product are "side" nodes: "mask" and "bias_gradient". They save a pass for each hidden layer and
direction. Off by default: on an H200 every network was slower with them, and relu dropped NaN in tf32, which would hide
a loss that is not finite (bench/results/2026-11-27-nvidia-h200-prototype). In bfloat16 they gain nothing: the pass that
rounds is needed anyway.
Source: NVIDIA, "cuBLAS Library", cublasLtEpilogue_t.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from bpengine_steps.ir import DType, RecordedStep, StepGraph, StepNode, needed

MASK, BIAS_GRADIENT = "mask", "bias_gradient"
PITCH = 128  # bits: the distance between two rows of a mask must be a multiple of this


def mask_pitch(columns: int) -> int:
    """Return the bits from one row of a mask to the next."""
    return -(-columns // PITCH) * PITCH


def with_epilogues(step: RecordedStep) -> RecordedStep:
    """Return a lowered step whose products include bias, relu, and their backward."""
    return _Rewriting(step, _found(step)).step


@dataclass
class _Forms:
    """Nodes with the form of an epilogue, by the number of the node that the product will replace."""

    forward: dict[int, tuple[StepNode, StepNode]] = field(default_factory=dict)  # y: the product and the bias
    backward: dict[int, tuple[StepNode, StepNode]] = field(default_factory=dict)  # dx: the product and y
    sums: dict[int, StepNode] = field(default_factory=dict)  # the finished sum of dx over the rows: dx

    @property
    def masked(self) -> set[int]:
        """The outputs of layers whose mask is kept."""
        return {y.number for _, y in self.backward.values()}

    @property
    def summed(self) -> set[int]:
        """The gradients whose sum over the rows is computed."""
        return {dx.number for dx in self.sums.values()}


def _found(step: RecordedStep) -> _Forms:
    nodes, forms = needed(step.outputs), _Forms()
    users: dict[int, list[StepNode]] = defaultdict(list)
    for node in nodes:
        for operand in node.inputs:
            users[operand.number].append(node)
    for node in step.outputs:
        users[node.number].append(node)  # an output of the step is needed itself
    products = [node for node in nodes if node.op == "matmul" and len(node.shape) == 2]
    for product in products:
        _find_forward(product, users, forms)
    for product in products:
        _find_backward(product, users, forms)
    return forms


def _find_forward(product: StepNode, users: dict[int, list[StepNode]], forms: _Forms) -> None:
    """Find y = max(product + bias, 0)."""
    z = _only(users[product.number], "add")
    bias = z and _other(z, product)
    if z is None or bias is None or bias.op != "input" or bias.shape != product.shape[1:] or z.shape != product.shape:
        return
    y = _only(users[z.number], "maximum")
    if y is not None and _zero(_other(y, z)):
        forms.forward[y.number] = product, bias


def _find_backward(product: StepNode, users: dict[int, list[StepNode]], forms: _Forms) -> None:
    """Find dx = product * [y > 0], with y the output of such a layer, and its sum over the rows."""
    dx = _only(users[product.number], "multiply")
    mask = dx and _other(dx, product)
    if dx is None or mask is None or (mask.op, mask.info) != ("ufunc", "cast"):
        return
    positive = mask.inputs[0]
    if (positive.op, positive.info) != ("ufunc", "greater") or not _zero(positive.inputs[1]):
        return
    y = positive.inputs[0]
    if y.number not in forms.forward or y.shape != product.shape:
        return
    forms.backward[dx.number] = product, y
    partials = [user for user in users[dx.number] if user.op == "partial" and user.info == ("add", "first")]
    for finish in (user for partial in partials for user in users[partial.number]):
        if finish.op == "finish" and finish.size == product.shape[1]:
            forms.sums[finish.number] = dx


def _only(users: list[StepNode], ufunc: str) -> StepNode | None:
    """Return the only user, if it is this operation."""
    return users[0] if len(users) == 1 and (users[0].op, users[0].info) == ("ufunc", ufunc) else None


def _other(node: StepNode, operand: StepNode) -> StepNode | None:
    others = [each for each in node.inputs if each is not operand]
    return others[0] if len(others) == 1 else None


def _zero(node: StepNode | None) -> bool:
    return node is not None and node.uniform is not None and float(node.uniform) == 0


class _Rewriting:
    def __init__(self, step: RecordedStep, forms: _Forms) -> None:
        self._graph, self._new, self._forms = StepGraph(), dict[int, StepNode](), forms
        self._masked, self._summed = forms.masked, forms.summed
        nodes = {n.number: n for n in (*step.inputs.values(), *step.rows, step.rate, *needed(step.outputs))}
        for node in nodes.values():
            self._new[node.number] = self._moved(node)
        self.step = replace(
            step,
            inputs=self._all(step.inputs),
            rows=tuple(self._new[node.number] for node in step.rows),
            rate=self._new[step.rate.number],
            changed=self._all(step.changed),
            reports=self._all(step.reports),
        )

    def _all(self, nodes: dict[Any, StepNode]) -> dict[Any, StepNode]:
        return {key: self._new[node.number] for key, node in nodes.items()}

    def _moved(self, node: StepNode) -> StepNode:
        graph, forms = self._graph, self._forms
        if node.op == "constant":
            return graph.constant(node.info, node.dtype)
        if node.number in forms.forward:
            product, bias = forms.forward[node.number]
            how = "relu_aux_bias" if node.number in self._masked else "relu_bias"
            return self._product(product, self._new[bias.number], how)
        if node.number in forms.backward:
            product, y = forms.backward[node.number]
            mask = self._side(y, (y.shape[0], mask_pitch(y.shape[1]) // 8), np.dtype(np.uint8), MASK)
            return self._product(product, mask, "drelu_bgrad" if node.number in self._summed else "drelu")
        if node.number in forms.sums:
            return self._side(forms.sums[node.number], node.shape, node.dtype, BIAS_GRADIENT)
        return graph.add(node.op, [self._new[i.number] for i in node.inputs], node.shape, node.dtype, node.info)

    def _product(self, product: StepNode, further: StepNode, how: str) -> StepNode:
        inputs = [*(self._new[operand.number] for operand in product.inputs), further]
        return self._graph.add("matmul", inputs, product.shape, product.dtype, how)

    def _side(self, product: StepNode, shape: tuple[int, ...], dtype: DType, what: str) -> StepNode:
        return self._graph.add("side", [self._new[product.number]], shape, dtype, what)
