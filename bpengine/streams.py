"""Streams: the only place that makes random numbers from a seed. Every use of a seed has its own stream.

A stream is NumPy's generator of `SeedSequence(seed, spawn_key=(ENGINE, number of the purpose, *numbers))`. Two purposes
share no stream; neither do two numbers of one purpose, such as two epochs. No stream of the engine equals one that a user
would draw: `default_rng(seed)`, `default_rng([seed, 0])` (which is the same stream) and `SeedSequence(seed).spawn(n)` do
not have the key ENGINE. So data drawn with a seed are independent of a model with that seed.
Source: NumPy's SeedSequence, after O'Neill, "Developing a seed_seq alternative", 2015.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

ENGINE = int.from_bytes(b"bpengine", "big")  # 64 bits that no caller uses as a seed

# No number here is ever changed or used twice, so a seed gives the same random numbers in every version. In brackets:
# `*numbers`.
PURPOSES: MappingProxyType[str, int] = MappingProxyType(
    {
        "initial weights": 1,  # [layer, layer inside it, ...]
        "epoch order": 2,  # [epoch]
        "dropout masks": 3,
        "later fit": 4,  # [fits before it]: the seed of a model's second, third ... fit
        "split": 5,
        "synthetic rows": 6,  # [crc32 of the set's name, block]
        "synthetic rule": 7,  # [crc32 of the set's name]: what all its rows share
        "check rows": 8,
        "check arguments": 9,  # the parameters of a layer alone, the arguments of a kernel, and the cotangent
        "check elements": 10,  # [array]
        "check directions": 11,  # [array]
        "check bend": 12,
        "check nearby": 13,  # [try]
        "check slopes": 14,  # [point]
        "check noise": 15,  # seed 0
        "check autodiff": 16,  # the seed is the number of the try
        "check rounding": 17,  # the seed is the number of the run
        "explain rounding": 18,  # the seed is the number of the shake
        "figure points": 19,  # seed 0
        "check perturbed": 20,  # [try]
        "check sides": 21,
        "check derivatives": 22,
        "check shaking": 23,  # the seed is the number of the shake
        "top eigenvalue": 24,
        "in turn": 25,  # seed 0: which parts of a residual depend on the parameters alone
        "shared shapes": 26,  # seed 0: whether a layer has the same parameters in two places
        "own loss": 27,  # seed 0: whether it is a mean or a sum over the rows
        "folds": 28,  # seed 0: of many fits
        "rounded rows": 29,  # the seed is the number of the fit, of a benchmark of a user's rows
    }
)


def stream(purpose: str, seed: int, *numbers: int) -> np.random.Generator:
    """Return the generator for one purpose of a seed; `purpose` is a key of PURPOSES, `numbers` are at least 0.

    stream("epoch order", 0, 3).permutation(100)
    """
    return np.random.default_rng(_sequence(purpose, seed, numbers))


def derived(purpose: str, seed: int, *numbers: int) -> int:
    """Return another seed, of 64 bits, for what draws several streams of its own."""
    return int(_sequence(purpose, seed, numbers).generate_state(1, np.uint64)[0])


def dropout_counter(seed: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the counter uint32 (2,) of a fit's first step: what dropout masks know of the seed, and step 0."""
    return np.array([_sequence("dropout masks", seed, ()).generate_state(1)[0], 0], dtype=np.uint32)


def _sequence(purpose: str, seed: int, numbers: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(ENGINE, PURPOSES[purpose], *numbers))
