"""PyTorch with CUDA graphs: whole steps captured once and replayed."""

from __future__ import annotations

from typing import Any

import torch

from bpengine.benchmark.inputs import EpochOrder
from bpengine.benchmark.peers.torch_eager import Loss, TorchEager
from bpengine.benchmark.workloads import EPS

TOGETHER = 16  # steps in one graph; the remainder of an epoch is replayed step by step
WARM = 3  # steps outside the graph, on a side stream, which allocate the gradients and the optimiser's slots
LOSSES = 2**16  # steps on the full batch whose losses the device holds


class TorchGraph(TorchEager):
    """Whole steps in a graph: the host copies an epoch's order to the device and replays.

    The device holds the row numbers of an epoch, (steps, batch), and the number of the next step. A graph reads that number,
    gathers the rows of its steps, trains, writes the losses and advances the number. On a CPU the same code is called step by
    step.
    """

    note = (
        f"{TOGETHER} whole steps in one CUDA graph: rows taken inside it from the epoch's order by a counter on the device, "
        "forward, backward, capturable fused optimiser, losses written on the device"
    )

    def reset(self) -> None:
        """Copy the initial weights and zero the optimiser's slots in place; the graphs are captured the first time."""
        if not hasattr(self, "_replays"):
            self._capture()
        with torch.no_grad():
            for layer, (w, b) in zip(self._linear(), self.sample.initial, strict=True):
                layer.weight.copy_(torch.tensor(w.T))
                layer.bias.copy_(torch.tensor(b))
            for slots in self._rule.state.values():
                for slot in slots.values():
                    if isinstance(slot, torch.Tensor):
                        slot.zero_()
        self._synchronize()

    def launch(self, epoch: EpochOrder) -> None:
        """Copy the order to the device, and replay; the losses of these steps are then in `losses`."""
        if epoch.order is not None:
            self._order.copy_(self.on_device(epoch.order))
        left = epoch.steps
        while left:
            self._next.zero_()
            piece = min(left, len(self.losses))
            for _ in range(piece // TOGETHER):
                self._replays[TOGETHER]()
            for _ in range(piece % TOGETHER):
                self._replays[1]()
            left -= piece

    def _capture(self) -> None:
        work = self.workload
        self._order = torch.zeros((work.epoch_steps, work.batch), dtype=torch.int32, device=self._place)
        self._next = torch.zeros((), dtype=torch.int64, device=self._place)
        self._places = torch.arange(TOGETHER, device=self._place)
        held = LOSSES if work.whole else work.epoch_steps
        self.losses = torch.zeros(held, dtype=getattr(torch, work.dtype), device=self._place)
        if self._place.type != "cuda":
            self._replays: dict[int, Any] = {k: lambda k=k: self._steps(k) for k in (1, TOGETHER)}
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                self._steps(1)
        torch.cuda.current_stream().wait_stream(stream)
        self._graphs = {k: self._graph(k) for k in (1, TOGETHER)}
        self._replays = {k: graph.replay for k, graph in self._graphs.items()}

    def _graph(self, count: int) -> torch.cuda.CUDAGraph:
        self._next.zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._steps(count)
        return graph

    def _steps(self, count: int) -> None:
        """Train the next so many steps."""
        places = self._next + self._places[:count]
        if self.workload.whole:
            losses = [self._trained(self._x, self._y) for _ in range(count)]
        else:
            rows = self._order.index_select(0, places)
            losses = [self._trained(self._x.index_select(0, r), self._y.index_select(0, r)) for r in rows.unbind()]
        self.losses.index_copy_(0, places, torch.stack(losses).to(self.losses.dtype))
        self._next += count

    def _trained(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Train one step and return its loss; gradients are new tensors, as there is nothing to add them to."""
        self._rule.zero_grad(set_to_none=True)
        loss: torch.Tensor = self._loss(x, y)
        loss.backward()
        self._rule.step()
        return loss.detach()

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.workload.optimizer == "sgd":
            return torch.optim.SGD(self._model.parameters(), lr=self.workload.rate, fused=True)
        return torch.optim.Adam(self._model.parameters(), lr=self.workload.rate, eps=EPS, fused=True, capturable=True)


class TorchGraphAutotuned(TorchGraph):
    """The same with the loss function compiled, its kernels chosen by measurement, and captured in the graph."""

    note = f"torch.compile of the loss function, mode max-autotune-no-cudagraphs; {TorchGraph.note}"

    def compiled(self, loss: Loss) -> Loss:
        """Return the loss function, compiled; the graph is this class's own."""
        torch._dynamo.reset()
        mode = "max-autotune-no-cudagraphs" if self.device == "gpu" else None
        compiled: Loss = torch.compile(loss, mode=mode, dynamic=False)
        return compiled
