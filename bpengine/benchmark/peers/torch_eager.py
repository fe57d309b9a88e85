"""PyTorch, eager: modules, autograd and an optimiser, step by step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import nn

from bpengine.backend import HostArray
from bpengine.benchmark.inputs import EpochOrder, Sample, Weights
from bpengine.benchmark.peers.peer import Peer
from bpengine.benchmark.workloads import EPS

MATMUL = {"full": "highest", "tf32": "high", "bfloat16": "highest"}  # "high" means TF32 on a GPU

Loss: TypeAlias = Callable[..., torch.Tensor]  # (inputs, targets) -> a scalar


class TorchEager(Peer):
    """A Sequential of Linear and ReLU, cross_entropy, and PyTorch's own optimiser in its fused form."""

    packages = ("torch",)
    note = "fused optimiser, rows taken by index_select"

    def __init__(self, sample: Sample, argument: str, device: str) -> None:
        super().__init__(sample, argument, device)
        torch.set_float32_matmul_precision(MATMUL[self.precision])
        self._place = torch.device("cuda" if device == "gpu" else "cpu")
        self._x, self._y = (torch.from_numpy(a).to(self._place) for a in (sample.x, sample.y))
        self._model = nn.Sequential(*self._layers()).to(self._place)
        self._rule = self._optimizer()
        loss = nn.functional.binary_cross_entropy_with_logits if self.workload.binary else nn.functional.cross_entropy
        self._loss: Any = self.compiled(lambda x, y: loss(self._output(x), y))
        timed = self._place.type == "cuda"
        self._events: Any = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if timed else []

    @classmethod
    def about(cls, argument: str, device: str) -> dict[str, Any]:
        """Return versions, threads and the device."""
        place = torch.cuda.get_device_name() if device == "gpu" else "cpu"
        about = super().about(argument, device)
        if device == "gpu":
            about["versions"] |= {"CUDA": torch.version.cuda, "cuDNN": str(torch.backends.cudnn.version())}
        return {**about, "threads": torch.get_num_threads(), "device": place}

    def compiled(self, loss: Loss) -> Loss:
        """Return the loss function in the form that is called."""
        return loss

    def reset(self) -> None:
        """Copy the initial weights into the modules, and start a new optimiser."""
        with torch.no_grad():
            for layer, (w, b) in zip(self._linear(), self.sample.initial, strict=True):
                layer.weight.copy_(torch.tensor(w.T))
                layer.bias.copy_(torch.tensor(b))
        self._rule = self._optimizer()

    def train(self, steps: int) -> None:
        """Launch every epoch, between two events on a GPU, and wait."""
        for event in self._events[:1]:
            event.record()
        for epoch in self.sample.epochs(steps):
            self.launch(epoch)
        for event in self._events[1:]:
            event.record()
        self._synchronize()

    def launch(self, epoch: EpochOrder) -> None:
        """Take each batch, and step."""
        order = None if epoch.order is None else self.on_device(epoch.order)
        for i in range(epoch.steps):
            if order is None:
                self.step(self._x, self._y)
            else:
                self.step(self._x.index_select(0, order[i]), self._y.index_select(0, order[i]))

    def on_device(self, order: HostArray) -> torch.Tensor:
        """Return the order of rows on the device, copied asynchronously."""
        rows = torch.from_numpy(order)
        return rows.pin_memory().to(self._place, non_blocking=True) if self._place.type == "cuda" else rows

    def device_seconds(self) -> float | None:
        """Return the seconds between the two events of the last turn."""
        return float(self._events[0].elapsed_time(self._events[1])) / 1e3 if self._events else None

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Train one step."""
        self._rule.zero_grad(set_to_none=True)
        self._loss(x, y).backward()
        self._rule.step()

    def weights(self) -> Weights:
        """Return the parameters, weights as (inputs, units)."""
        return [(m.weight.detach().cpu().numpy().T, m.bias.detach().cpu().numpy()) for m in self._linear()]

    def device_memory(self) -> dict[str, int]:
        """Return the bytes that PyTorch's allocator reports on a GPU."""
        if self._place.type != "cuda":
            return {}
        return {"in_use": torch.cuda.memory_allocated(), "peak": torch.cuda.max_memory_allocated()}

    def _output(self, x: torch.Tensor) -> torch.Tensor:
        """Return the network's output, in bfloat16 with the operands of its products rounded to that."""
        if self.precision != "bfloat16":
            output: torch.Tensor = self._model(x)
            return output
        with torch.autocast(self._place.type, torch.bfloat16, cache_enabled=False):
            output = self._model(x)
        return output.float()

    def _layers(self) -> list[nn.Module]:
        sizes, dtype = self.workload.sizes, getattr(torch, self.workload.dtype)
        activation = nn.ReLU if self.workload.activation == "relu" else nn.Sigmoid
        modules: list[nn.Module] = []
        for inputs, units in pairwise(sizes):
            modules += [nn.Linear(inputs, units, dtype=dtype), activation()]
        return modules[:-1]

    def _linear(self) -> list[nn.Linear]:
        return [module for module in self._model if isinstance(module, nn.Linear)]

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.workload.optimizer == "sgd":
            return torch.optim.SGD(self._model.parameters(), lr=self.workload.rate, fused=True)
        return torch.optim.Adam(self._model.parameters(), lr=self.workload.rate, eps=EPS, fused=True)

    def _synchronize(self) -> None:
        if self._place.type == "cuda":
            torch.cuda.synchronize()
