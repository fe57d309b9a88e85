"""PyTorch with a CUDA graph: the whole step captured once and replayed."""

from __future__ import annotations

import torch

from bpengine.benchmark.peers.torch_eager import TorchEager
from bpengine.benchmark.workloads import EPS


class TorchGraph(TorchEager):
    """Forward, backward and update in one graph; a replay reads the rows from buffers that are filled before it."""

    note = "the whole step in one CUDA graph, replayed; capturable fused optimiser"

    def reset(self) -> None:
        """Copy the initial weights and zero the optimiser's slots in place; the graph is captured the first time."""
        if not hasattr(self, "_graph"):
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

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Fill the buffers and replay."""
        self._rows.copy_(x)
        self._targets.copy_(y)
        self._graph.replay()

    def _capture(self) -> None:
        batch = self.workload.batch
        self._rows, self._targets = self._x[:batch].clone(), self._y[:batch].clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # a few steps outside the graph make the gradients and the slots
            for _ in range(3):
                super().step(self._rows, self._targets)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        self._rule.zero_grad(set_to_none=True)
        with torch.cuda.graph(self._graph):
            self._loss(self._rows, self._targets).backward()
            self._rule.step()

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.workload.optimizer == "sgd":
            return torch.optim.SGD(self._model.parameters(), lr=self.workload.rate, fused=True)
        return torch.optim.Adam(self._model.parameters(), lr=self.workload.rate, eps=EPS, fused=True, capturable=True)
