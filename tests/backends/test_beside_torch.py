"""PyTorch in the same process, with OpenMP and MKL threads of its own: fits give the same bits, and it loses nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.backends.beside import run

BESIDE = """
def denormals_are_what_they_are_to_torch():
    tiny, one = torch.full((512, 512), 1e-39), torch.eye(512)
    assert bool((tiny * 0.5 > 0).all()), "elementwise"
    assert bool((tiny @ one > 0).all()), "a product"
    assert bool((torch.full((4, 1 << 18), 1e-39).sum(1) > 0).all()), "a sum over all threads"

def work(done=None):
    x = torch.randn(400, 400)
    for _ in range(20):
        x = torch.tanh(x @ x)
        if done and done.is_set():
            break
    return x

if sys.argv[1] == "torch first":
    import torch
    work()
else:
    fit(0)
    import torch

alone = [fit(seed, AsWritten) for seed in (1, 2)]
work()
assert [fit(seed) for seed in (1, 2)] == alone
done = threading.Event()

def go_on():
    while not done.is_set():
        work(done)

others = [threading.Thread(target=go_on) for _ in range(2)]
for other in others:
    other.start()
try:
    for _ in range(int(sys.argv[2])):
        assert [fit(seed) for seed in (1, 2)] == alone, "beside its threads"
finally:
    done.set()
    for other in others:
        other.join()
denormals_are_what_they_are()
denormals_are_what_they_are_to_torch()
if torch.set_flush_denormal(True):  # which it has chosen for this thread, and keeps
    assert [fit(seed) for seed in (1, 2)] == alone
    assert not (TINY * np.float32(0.5)).any(), "this thread's own choice was undone"
    torch.set_flush_denormal(False)
    denormals_are_what_they_are()
print(repr([loss.hex() for losses in alone for loss in losses]))
"""
ALONE = "print(repr([loss.hex() for seed in (1, 2) for loss in fit(seed)]))"


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("order", ["torch first", "torch later"])
def test_same_bits_beside_torch(order: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if find_spec("torch") is None:
        required = "torch" in request.config.getoption("--require-peer")
        (pytest.fail if required else pytest.skip)("torch is not installed")
    assert run(BESIDE, tmp_path, order, "2") == run(ALONE, tmp_path)
