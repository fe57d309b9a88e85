"""A whole fit with PyTorch, eager."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from bpengine.benchmark.peers.whole_fits.fit_script import FitTask, Weights, run

PACKAGES = ("torch", "numpy")
NOTE = "eager, fused Adam, rows of each batch taken by index_select"


class TorchFit:
    """A Sequential of Linear and ReLU, cross_entropy, and the loop over batches that users write."""

    def __init__(self, task: FitTask, argument: str) -> None:
        self._task = task
        self._orders = torch.from_numpy(task.orders())
        self._x, self._y = torch.from_numpy(task.x), torch.from_numpy(task.y)
        modules: list[nn.Module] = []
        for inputs, units in pairwise(task.sizes):
            modules += [nn.Linear(inputs, units), nn.ReLU()]
        self._model = nn.Sequential(*modules[:-1])
        self._linear = [module for module in self._model if isinstance(module, nn.Linear)]
        with torch.no_grad():
            for layer, (w, b) in zip(self._linear, task.initial(), strict=True):
                layer.weight.copy_(torch.from_numpy(w.T))
                layer.bias.copy_(torch.from_numpy(b))
        self.renew()

    def renew(self) -> None:
        """Start a new optimiser."""
        self._rule = torch.optim.Adam(self._model.parameters(), lr=self._task.rate, eps=self._task.eps, fused=True)

    def train(self, call: int) -> None:
        """Take each batch, and step."""
        for order in self._orders[call]:
            for rows in order.split(self._task.batch):
                self._rule.zero_grad(set_to_none=True)
                logits = self._model(self._x.index_select(0, rows))
                nn.functional.cross_entropy(logits, self._y.index_select(0, rows)).backward()
                self._rule.step()

    def weights(self) -> Weights:
        """Return the parameters, weights as (inputs, units)."""
        return [(m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in self._linear]


if __name__ == "__main__":
    run(TorchFit, PACKAGES, NOTE)
