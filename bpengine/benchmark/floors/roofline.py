"""The roofline: the machine's rates of matrix products and memory traffic, and the least time of a step that follows.

Three floors, in seconds per step:
- products: the operations of all matrix products over the best rate of any product measured;
- own products: each product at the rate measured for its own size;
- calls: each kernel call takes at least its products at the best rate, and at least its bytes at the rate measured for
  copying so many bytes; the larger of the two, added up. A contender that fuses calls moves fewer bytes and may beat it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bpengine.benchmark.floors.cost import StepCost
from bpengine.benchmark.processes.process import WorkerFailed, environment
from bpengine.summary.call_costs import Product

Key = TypeVar("Key")
LARGE = {"cpu": (1024, 2048), "gpu": (4096, 8192)}  # sizes of the square products that are tried for the best rate
COPIES = {"cpu": tuple(2**n for n in (12, 15, 18, 20, 22, 24, 27)), "gpu": (2**20, 2**24, 2**28, 2**30)}  # bytes


@dataclass
class Limits:
    """Measurements: seconds of each matrix product, and (bytes copied, seconds) of copies, each the shortest."""

    library: str = ""
    products: dict[Product, float] = field(default_factory=dict)
    copies: dict[int, float] = field(default_factory=dict)

    @property
    def best_rate(self) -> float:
        """Operations per second of the fastest product."""
        return max(product.flops / seconds for product, seconds in self.products.items())

    def bandwidth(self, moved: int) -> float:
        """Bytes per second, read and written, of copies of at least this many bytes; beyond the largest copy, its rate."""
        size = min((size for size in self.copies if 2 * size >= moved), default=max(self.copies))
        return 2 * size / self.copies[size]

    def add(self, measured: Limits) -> None:
        """Merge another measurement: keep the shorter time of each product and copy."""
        self.library = measured.library
        self.products = _faster(self.products, measured.products)
        self.copies = _faster(self.copies, measured.copies)

    def floors(self, cost: StepCost) -> dict[str, float]:
        """Return the floors of a step, in seconds."""
        rate = self.best_rate
        return {
            "products": cost.product_flops / rate,
            "own_products": sum(self.products[product] for product in cost.products),
            "calls": sum(max(c.product_flops / rate, c.bytes / self.bandwidth(c.bytes)) for c in cost.calls),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements as rates."""
        rates = {"x".join(map(str, p)): p.flops / s for p, s in self.products.items()}
        return {
            "library": self.library,
            "best_product_flops_per_second": self.best_rate,
            "product_flops_per_second": rates,
            "copy_bytes_per_second": {str(size): 2 * size / seconds for size, seconds in sorted(self.copies.items())},
        }


def _faster(first: Mapping[Key, float], second: Mapping[Key, float]) -> dict[Key, float]:
    both = {**first, **second}
    return {key: min(first.get(key, seconds), seconds) for key, seconds in both.items()}


def measure(products: Iterable[Product], device: str, precision: str, without: Iterable[str] = ()) -> Limits:
    """Measure large products, the given ones, and copies of several sizes, in a separate process.

    Raises WorkerFailed when the measured library (NumPy on the CPU, PyTorch or CuPy on a GPU) cannot run, or cannot multiply
    in the precision.
    """
    large = [Product(n, n, n, "nn") for n in LARGE[device]]
    asked = list(dict.fromkeys([*large, *products]))
    done = subprocess.run(  # nosec B603 # this Python, a module of ours
        [sys.executable, "-m", "bpengine.benchmark.peers.limits", device, precision],
        input=json.dumps({"products": asked, "copies": COPIES[device]}),
        env=environment(device, precision, without, ()),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerFailed((done.stderr.strip().splitlines() or ["no message"])[-1])
    answer: Mapping[str, Any] = json.loads(done.stdout)
    times = dict(zip(asked, answer["products"], strict=True))
    return Limits(answer["library"], times, dict(zip(COPIES[device], answer["copies"], strict=True)))
