"""PyTorch, compiled: forward and backward by torch.compile, the optimiser in its fused form."""

from __future__ import annotations

from typing import ClassVar

import torch

from bpengine.benchmark.peers.torch_eager import Loss, TorchEager


class TorchCompiled(TorchEager):
    """The same step with the loss function compiled; on a GPU with CUDA graphs (mode "reduce-overhead")."""

    note = f"torch.compile of the loss function, on a GPU mode reduce-overhead; {TorchEager.note}"
    mode: ClassVar[str] = "reduce-overhead"

    def compiled(self, loss: Loss) -> Loss:
        """Return the loss function, compiled."""
        torch._dynamo.reset()
        compiled: Loss = torch.compile(loss, mode=self.mode if self.device == "gpu" else None, dynamic=False)
        return compiled


class TorchAutotuned(TorchCompiled):
    """The same with the fastest of several kernels for each product."""

    note = f"torch.compile of the loss function, mode max-autotune; {TorchEager.note}"
    mode = "max-autotune"
