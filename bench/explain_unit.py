"""What it costs to explain one unit: a step of a 784-512-256-10 network on a batch of 128, and the explanation of it.

    python bench/explain_unit.py [--sizes 784-512-256-10] [--rows 128] [--dtype float32] [--backend numpy] [--rounds 20]

A step here is the loss and all gradients, kernel by kernel, without the update. Prints, for a unit of each layer, the
milliseconds that `bp.explain` takes (the step traced, its update included, and the unit's sums gathered) beyond those of
the step before it, and those of the text; the median and the least of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import bpengine as bp
from bpengine.explain import Explanation


def milliseconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


class Subject:
    """A network and a batch of random rows."""

    def __init__(self, args: argparse.Namespace) -> None:
        inputs, *hidden, classes = (int(size) for size in args.sizes.split("-"))
        layers = [*(bp.Dense(units, "relu") for units in hidden), bp.Dense(classes)]
        network = bp.Network(inputs, layers, "softmax_cross_entropy")
        self.model = bp.Model(network, args.backend, args.dtype)
        rng = np.random.default_rng(0)
        self.x, self.y = rng.normal(size=(args.rows, inputs)), rng.integers(0, classes, args.rows)

    def step(self) -> None:
        """Compute the loss and all gradients."""
        self.model.loss_and_gradients(self.x, self.y)

    def explain(self, layer: int) -> Explanation:
        """Explain unit 3 of a layer."""
        return bp.explain(self.model, self.x, self.y, layer=layer, unit=3)

    def round(self, layer: int) -> tuple[float, float, float]:
        """Return the milliseconds of a step, of an explanation beyond that, and of its text."""
        step = milliseconds(self.step)
        explanations: list[Explanation] = []
        explained = milliseconds(lambda: explanations.append(self.explain(layer)))
        return step, explained - step, milliseconds(explanations[0].text)


def main() -> None:
    """Explain a unit of every layer, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="784-512-256-10", help="units of the layers, the inputs first")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    subject = Subject(args)
    print(f"{subject.model}, {args.rows} rows; median (least) of {args.rounds} rounds")
    print("layer    step ms          explanation ms beyond it    text ms          both ms")
    for layer in range(len(subject.model.network.layers)):
        subject.round(layer)
        rounds = [subject.round(layer) for _ in range(args.rounds)]
        columns = [*zip(*rounds, strict=True), [explained + text for _, explained, text in rounds]]
        cells = [f"{statistics.median(times):7.2f} ({min(times):.2f})" for times in columns]
        print(f"{layer:<9}{cells[0]:<17}{cells[1]:<28}{cells[2]:<17}{cells[3]}", flush=True)


if __name__ == "__main__":
    main()
