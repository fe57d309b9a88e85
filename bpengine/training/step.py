"""The training step, a pure function of state and rows: loss, gradients, their exchange between processes, the update."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from bpengine.backend import State, Step
from bpengine.distributed.adder import ShardAdder
from bpengine.distributed.tree import Cut
from bpengine.kernels._kernel import Array
from bpengine.layers.chain import LayerStep, layer_steps, local, qualified
from bpengine.layers.contract import run_backward
from bpengine.layers.layer import Arrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.optimizers import Optimizer, is_own
from bpengine.training.reuse import identity, identity_or_new
from bpengine.training.updates import accumulation, sharding
from bpengine.training.updates.sequential import of_parameters_alone, renewed_residual
from bpengine.training.updates.update import BoundRule, Exchange, init_slots, no_exchange


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Everything a compiled step depends on beside the network; equal plans share one compilation."""

    optimizer: Optimizer
    trained: tuple[str, ...]
    update: str  # "simultaneous" or "sequential"
    track_step_size: bool
    clip_norm: float | None = None
    loss_below: float | None = None
    step_below: float | None = None
    frozen: frozenset[str] = frozenset()  # places of layers that use their running statistics
    part: int | None = None  # rows run at a time, where a step has more; None runs all at once
    cut: Cut | None = None  # the shards of a batch, where their losses and gradients are added in a fixed order

    @property
    def key(self) -> tuple[Any, ...]:
        """The value that is equal for equal plans; the learning rate is no part of it, but an argument of the step."""
        rest = (identity_or_new(getattr(self, f.name)) for f in fields(self) if f.name != "optimizer")
        rule = self.optimizer.rule
        return (rule if is_own(self.optimizer) else identity(rule), *rest)


def init_state(ops: Ops, plan: StepPlan, params: Arrays, running: Arrays, counter: Array) -> State:
    """Return the state before the first step; `counter` is uint32 (2,): seed and step number."""
    slots = init_slots(plan.optimizer, ops, params, plan.trained)
    return {"params": dict(params), "running": dict(running), "slots": slots, "counter": counter}


def make_step(
    network: Network,
    plan: StepPlan,
    ops: Ops,
    exchange: Exchange = no_exchange,
    add_up: ShardAdder | None = None,
) -> Step:
    """Return step(state, rows, lr) -> (state, report).

    rows: x, target and, when samples are weighted, weights. lr: (1,). report: "loss" () before the update, "halt" (),
    and "step_size" (1,) if it is tracked. `exchange` is given every gradient between its computation and its use.
    With `plan.cut`, rows are those of the batch that this process computes; `add_up` (of the namespace, by default) adds
    losses and gradients of all shards, and report has "share" (1,), the sum of the batch's weights, where there are any.
    """
    parts = _Parts(
        network=network,
        plan=plan,
        ops=ops,
        update=BoundRule(plan.optimizer, ops, plan.clip_norm, exchange),
        add_up=add_up,
    )
    gradient_and_update = parts.sequential if plan.update == "sequential" else parts.simultaneous

    def step(state: State, rows: tuple[Array, ...], lr: Array) -> tuple[State, dict[str, Array]]:
        report: dict[str, Array] = {}
        shapes = tuple([tuple(array.shape) for array in rows])
        run = Run(True, state["counter"], frozen=plan.frozen, met=shapes in parts.seen)
        report["loss"], changed, slots, running = gradient_and_update(state, rows, lr, run, report)
        parts.seen.add(shapes)
        params, loss = {**state["params"], **changed}, report["loss"]
        if plan.track_step_size:
            sizes = [ops.largest_change(state["params"][name], new) for name, new in changed.items()]
            report["step_size"] = ops.xp.max(ops.xp.concat(sizes), keepdims=True)
        limits = {"loss_below": plan.loss_below, "step_below": plan.step_below}
        report["halt"] = ops.halt(loss, report.get("step_size"), **limits)
        counter = ops.advance(state["counter"])
        return {"params": params, "running": running, "slots": slots, "counter": counter}, report

    return step


@dataclass(frozen=True, kw_only=True)
class _Parts:
    network: Network
    plan: StepPlan
    ops: Ops
    update: BoundRule
    add_up: ShardAdder | None
    parameters_alone: dict[int, tuple[bool, ...]] = field(default_factory=dict)
    seen: set[tuple[tuple[int, ...], ...]] = field(default_factory=set)  # shapes of rows of the steps so far

    def simultaneous(
        self, state: State, rows: tuple[Array, ...], lr: Array, run: Run, report: dict[str, Array]
    ) -> tuple[Array, Arrays, Any, Arrays]:
        """Take all gradients at the old parameters, then update."""
        x, target, *weights = rows
        model = self.ops, state["params"], state["running"]
        if self.plan.cut:
            total = sharding.loss_and_gradients(self.network, *model, rows, run, self._shards(self.plan.cut))
            loss, gradients, running = total[:3]
            report |= {} if total.share is None else {"share": total.share}
        elif self.plan.part and x.shape[0] > self.plan.part:
            loss, gradients, running = accumulation.loss_and_gradients(self.network, *model, rows, run, self.plan.part)
        else:
            weight = weights[0] if weights else None
            loss, gradients, running = self.network.loss_and_gradients(*model, x, target, weight, run)
        changed, slots = self._update(state, gradients, lr)
        return loss, changed, {**state["slots"], **slots}, running

    def _shards(self, cut: Cut) -> sharding.Shards:
        add_up = self.add_up or ShardAdder(self.ops.xp)
        return sharding.Shards(cut=cut, add_up=add_up, trained=self.plan.trained, part=self.plan.part)

    def sequential(
        self, state: State, rows: tuple[Array, ...], lr: Array, run: Run, report: dict[str, Array]
    ) -> tuple[Array, Arrays, Any, Arrays]:
        """Update each layer, from the last to the first, before the gradient of the layer below is taken through it."""
        x, target, *weights = rows
        network, ops, params, weight = self.network, self.ops, state["params"], weights[0] if weights else None
        run = run._replace(weights=weight)
        passed = list(layer_steps(network.layers, ops, params, state["running"], x, run))
        loss, dy, terms = network.loss_and_cotangent(ops, params, passed[-1].y, target, weight)
        changed: Arrays = {}
        slots = dict(state["slots"])
        for i, layer_step in reversed(list(enumerate(passed))):
            place, here = str(i), ops.at(str(i))
            dx, own = run_backward(layer_step.layer, here, layer_step.residual, dy)
            own = qualified(own, place)
            new, moved = self._update(state, {**own, **network.add_penalties(ops, terms, own)}, lr)
            if new:
                residual = renewed_residual(layer_step, here, local(new, place), self._of_parameters(i, layer_step))
                dx, _ = run_backward(layer_step.layer, here, residual, dy)
            dy, changed, slots = dx, {**changed, **new}, {**slots, **moved}
        running = {
            f"{i}.{name}": value for i, layer_step in enumerate(passed) for name, value in layer_step.seen.items()
        }
        return loss, changed, slots, running

    def _of_parameters(self, i: int, layer_step: LayerStep) -> tuple[bool, ...]:
        """Return which leaves of a layer's residual depend on its parameters alone; tested once per layer."""
        if i not in self.parameters_alone:
            self.parameters_alone[i] = of_parameters_alone(layer_step)
        return self.parameters_alone[i]

    def _update(self, state: State, gradients: Arrays, lr: Array) -> tuple[Arrays, dict[str, list[Array]]]:
        return self.update(state, {name: dw for name, dw in gradients.items() if name in self.plan.trained}, lr)
