"""Hostile model files and receipts, made from sound ones with their structure known: `python -m tests.attacks.files`.

Every case is told by its seed and number. A file must be read, or refused by one ModelFileError (a receipt: by a verdict or
DataError) that names it, in less than 20 seconds and in memory in proportion to its size. What is found is kept.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import struct
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.explain import receipt, verify
from tests.attacks.hostile import dumps, edit, raw, value
from tests.attacks.running import run

SECONDS, MEMORY, TIMES = 20.0, 50e6, 4.0  # that one file may take: time, bytes, and bytes for each of its own
KEPT = Path(__file__).parent / "kept"
Tree = dict[str, Any]


@dataclass(frozen=True)
class Gain(bp.Layer):
    """A layer of one's own that says no shapes: they are found by making the arrays."""

    start: float = 1.0

    def init(self, rng: Any, inputs: int) -> Any:
        return {"gain": np.full(inputs, self.start)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return x * params["gain"], (x, params["gain"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return dy * residual[1], {"gain": ops.xp.sum(dy * residual[0], axis=0)}


@dataclass(frozen=True)
class Said(Gain):
    """One that says them."""

    def shapes(self, inputs: int) -> bp.layers.Shapes:
        return bp.layers.Shapes({"gain": (inputs,)}, {})


def _cube(xp: Any, x: Any) -> Any:
    return x * x * x, x


def _cube_back(xp: Any, x: Any, dy: Any) -> Any:
    return 3.0 * x * x * dy


OWN = {
    "layers": {"Gain": Gain, "Said": Said},
    "activations": {"cube": bp.CustomActivation(_cube, _cube_back, name="cube")},
}


def _networks() -> Iterator[tuple[bp.Network, str, Any]]:
    encoder = bp.Dense(3, "tanh")
    block = bp.Residual([bp.Dense(4, "gelu"), bp.BatchNorm(), bp.Residual([bp.LayerNorm(), bp.Dropout(0.5)])])
    yield bp.Network(2, [bp.Dense(2)], "softmax_cross_entropy"), "float32", ("no", "yes")
    yield (
        bp.Network(4, [block, block, bp.Dense(3, bias="column")], bp.Loss("huber", delta=0.5), bp.L2(0.1)),
        "float64",
        None,
    )
    yield bp.Network(8, [encoder, bp.Dense(8, tie=encoder)], "mean_squared_error"), "float32", None
    own = [Gain(2.0), bp.Dense(3, OWN["activations"]["cube"]), bp.Residual([Said(), Said()]), bp.Dense(1)]
    yield bp.Network(3, own, "sigmoid_cross_entropy", [bp.L1(0.1)]), "float32", (False, True)
    yield (
        bp.Network(2, [bp.Dense(2, bp.Dense(3, "relu"), weight_init=np.eye(2))], "mean_absolute_error"),
        "float64",
        None,
    )


def _models() -> list[bp.Model]:
    models = []
    for network, dtype, names in _networks():
        model = bp.Model(network, dtype=dtype, seed=1)
        model.class_names = names
        models.append(model)
    return models


def _receipts() -> list[str]:
    rng, lines = np.random.default_rng(0), []
    layers = [bp.Dense(2, "tanh"), bp.Residual([bp.BatchNorm()]), bp.Dropout(0.4), bp.Dense(2)]
    deep = bp.Network(2, layers, bp.Loss("softmax_cross_entropy", label_smoothing=0.1), bp.L2(0.1))
    small = bp.Network(2, bp.Dense(1, "sigmoid", bias="column"), "mean_squared_error")
    for network, y, dtype, rule in (
        (deep, [0, 1, 1], "float64", "adam"),
        (small, [[1.0], [0.0], [1.0]], "float32", "sgd"),
    ):
        traced = bp.Model(network, dtype=dtype).trace(
            rng.normal(size=(3, 2)), np.array(y), [1.0, 2.0, 0.0], optimizer=rule
        )
        lines.append("\n".join(receipt(traced)) + "\n")
    return lines


@dataclass(frozen=True)
class Sound:
    """The files that all others are made from, and a model to take parameters over."""

    models: list[bp.Model]
    files: list[bytes]
    receipts: list[str]

    @classmethod
    def written(cls, folder: Path) -> Sound:
        models, files = _models(), []
        for model in models:
            model.save(folder / "sound")
            files.append((folder / "sound").read_bytes())
        return cls(models, files, _receipts())


def split(content: bytes) -> tuple[Tree, bytes]:
    """Return the header of a model file, its two texts parsed as well, and its arrays."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    texts = header["__metadata__"]
    for name in ("network", "settings"):
        texts[name] = json.loads(texts[name])
    return header, content[8 + length :]


def join(header: Any, arrays: bytes) -> bytes:
    """Return a model file; the two texts may be trees."""
    if isinstance(header, dict) and isinstance(texts := header.get("__metadata__"), dict):
        metadata = {
            n: json.dumps(dumps(t)) if n in ("network", "settings") and not isinstance(t, str) else dumps(t)
            for n, t in texts.items()
        }
        header = {**header, "__metadata__": {name: raw(text) for name, text in metadata.items()}}
    text = dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + arrays


# ---- hostile model files: each takes (random, a sound file) and returns another


def bits(random: Random, content: bytes) -> bytes:
    broken = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8])):
        broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
    return bytes(broken)


def blocks(random: Random, content: bytes) -> bytes:
    begin, other = random.randrange(len(content)), random.randrange(len(content))
    size = random.choice([1, 4, 8, 64, 512])
    piece = random.choice([b"\0" * size, b"\xff" * size, random.randbytes(size), content[other : other + size]])
    return content[:begin] + piece + content[begin + random.choice([0, size]) :]


def ends(random: Random, content: bytes) -> bytes:
    if random.random() < 0.7:
        return content[: random.randrange(len(content))]
    return content + random.choice([b"\0", b"x" * 4096, content, random.randbytes(9)])


def lengths(random: Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    wrong = random.choice(
        [0, 1, length - 1, length + 1, 2**31, 2**32, 2**63, 2**64 - 1, len(content), len(content) - 8, 2**40]
    )
    return struct.pack("<Q", wrong) + content[8:]


def header_edits(random: Random, content: bytes) -> bytes:
    header, arrays = split(content)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        with contextlib.suppress(
            TypeError, KeyError, RecursionError, AttributeError
        ):  # of a tree that is none any more
            header = edit(header, random)
    return join(header, arrays)


def network_edits(random: Random, content: bytes) -> bytes:
    return _part_edited(random, content, "network")


def settings_edits(random: Random, content: bytes) -> bytes:
    return _part_edited(random, content, "settings")


def _part_edited(random: Random, content: bytes, part: str) -> bytes:
    header, arrays = split(content)
    header["__metadata__"][part] = edit(header["__metadata__"][part], random)
    return join(header, arrays)


def entry_edits(random: Random, content: bytes) -> bytes:
    """Change what is said of one array or two: dtype, shape, place."""
    header, arrays = split(content)
    names = [name for name in header if name != "__metadata__"]
    one, other = header[random.choice(names)], header[random.choice(names)]
    how = random.randrange(9)
    if how == 0:
        one["dtype"] = random.choice(
            ["I32", "U32", "F16", "BF16", "F64", "F32", "C64", "BOOL", "I64", "F8_E4M3", value(random)]
        )
    elif how == 1:
        one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]
    elif how == 2:
        one["shape"], other["shape"] = other["shape"], one["shape"]
    elif how == 3:
        one["shape"] = one["shape"][::-1]
    elif how == 4:
        one["data_offsets"] = [n + random.choice([-4, 4, 8, 2**40]) for n in one["data_offsets"]]
    elif how == 5:
        one["shape"] = random.choice(
            [[2**32, 2**32], [0], [], [1] * 100, [-1, -1], [10**30], [*one["shape"], 1], value(random)]
        )
    elif how == 6:
        one["data_offsets"] = other["data_offsets"]
    elif how == 7:
        factor = random.choice([2, 1000])
        one["shape"], arrays = [n * factor for n in one["shape"]], arrays * factor
    else:
        return _name_twice(random, header, names, arrays)
    return join(header, arrays)


def _name_twice(random: Random, header: Tree, names: list[str], arrays: bytes) -> bytes:
    content = join(header, arrays)
    (length,) = struct.unpack("<Q", content[:8])
    again = (
        f", {json.dumps(random.choice(names))}: {dumps({**header[random.choice(names)], 'dtype': 'I32'})}}}".encode()
    )
    text = content[8 : 8 + length - 1] + again
    return struct.pack("<Q", len(text)) + text + arrays


def numbers(random: Random, content: bytes) -> bytes:
    """Put a number that is none, or that is hardly one, into an array."""
    header, arrays = split(content)
    kind = "<f4" if header["__metadata__"]["settings"]["dtype"] == "float32" else "<f8"
    values = np.frombuffer(arrays, kind).copy()
    values[random.randrange(len(values))] = random.choice([np.nan, np.inf, -np.inf, np.finfo(kind).max, 1e-320, -0.0])
    if random.random() < 0.2:
        values[:] = np.frombuffer(random.randbytes(values.nbytes), kind)
    return join(header, values.tobytes())


def sizes(random: Random, content: bytes) -> bytes:
    """Describe a network larger than its arrays: wide, long, deep, or shared over and over."""
    header, arrays = split(content)
    texts = header["__metadata__"]
    layers = texts["network"]["layers"]
    plain = {"type": "Activation", "name": "tanh"}
    wide = 10 ** random.choice([3, 5, 9, 15, 30, 99, 400])
    long = random.choice([10, 10, 100, 100, 1000, 1000, 5000, 100_000])
    at = random.choice([0, len(layers), len(layers)])  # at the end the arrays keep their names
    how = random.randrange(7)
    if how == 0:
        layers.insert(at, {"type": "Dense", "units": wide})
    elif how == 1:
        texts["network"]["inputs"] = wide
    elif how == 2:
        one = random.choice([plain, {"type": "Dropout", "rate": 0.5}, {"type": "Gain", "start": 1.0}])
        layers[at:at] = [one] * long
    elif how == 3:
        layers[at:at] = [plain, *[{"type": "Shared", "place": str(at)}] * long]
    elif how == 4:
        inner = random.choice([plain, {"type": "BatchNorm"}, {"type": "Gain"}])
        layers.insert(at, _bomb(random.choice([3, 10, 12, 20, 40, 60]), inner, str(at)))
    else:
        n = random.choice([3, 10, 60, 64, 65, 100, 400])
        opening = '{"type": "Residual", "layers": [' if how == 5 else '{"type": "Dense", "units": 2, "activation": '
        layers.insert(at, raw(opening * n + dumps(plain) + ("]}" if how == 5 else "}") * n))
    return join(header, arrays)


def _bomb(levels: int, inner: Any, at: str) -> Any:
    """Return a block that has the block of the level below twice: 2^levels places in a short text."""
    for level in range(levels):
        place = f"{at}.{'0.' * (levels - level - 1)}0"
        inner = {"type": "Residual", "layers": [inner, {"type": "Shared", "place": place}]}
    return inner


def strangers(random: Random, content: bytes) -> bytes:
    """Return something that is no model file, or an enormous header."""
    many = random.choice([1000, 1000, 1000, 100_000])
    return random.choice(
        [
            lambda: b"",
            lambda: random.randbytes(random.choice([1, 8, 9, 1000])),
            lambda: b"PK\3\4" + content,
            lambda: b"\x80\x05" + content,
            lambda: join(
                {f"params/{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(many // 20)}, b""
            ),
            lambda: join({**split(content)[0], "extra": raw("[" + "{}," * many + "{}]")}, split(content)[1]),
            lambda: join({**split(content)[0], "x" * many: "\U0001f600" * many}, split(content)[1]),
            lambda: join(raw("[" * many), b""),
            lambda: join(raw("{" + ", ".join(f'"{i}": 0' for i in range(many // 2)) + ', "0": 1}'), b""),
        ]
    )()


MODELS: tuple[Callable[[Random, bytes], bytes], ...] = (
    bits, blocks, ends, lengths, header_edits, network_edits, network_edits, settings_edits, entry_edits, numbers, sizes,
    strangers,
)  # fmt: skip


# ---- hostile receipts: each takes (random, a sound receipt) and returns another


def receipt_edits(random: Random, text: str) -> bytes:
    lines = text.splitlines()
    for _ in range(random.choice([1, 1, 2])):
        at = random.randrange(len(lines))
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            lines[at] = dumps(edit(json.loads(lines[at]), random))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def receipt_lines(random: Random, text: str) -> bytes:
    lines = text.splitlines()
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    how = random.randrange(4)
    if how == 0:
        del lines[one]
    elif how == 1:
        lines.insert(one, lines[other])
    elif how == 2:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines = lines[:one]
    return "\n".join(lines).encode()


def receipt_arrays(random: Random, text: str) -> bytes:
    """Give an array another dtype, another shape with as many values, or another value."""
    lines = [json.loads(line) for line in text.splitlines()]
    arrays = [array for line in lines for array in [line, *line.get("outputs", {}).values()] if "values" in array]
    one = random.choice(arrays)
    n, how = len(one["values"]), random.randrange(5)
    if how == 0:
        one["dtype"] = random.choice(
            ["S1000000000", "U999999999", "O", "V8", "float16", "complex128", "int8", "M8[ns]", "f4,f4", "bool"]
        )
    elif how == 1:
        one["shape"] = random.choice(
            [[n], [n, 1], [1, n], [1] * 40 + [n], [10**9, 0], [-1, -n], [0], [], [n, 10**9, 0]]
        )
    elif how == 2:
        many = random.choice([100, 1000, 10**5])
        one["values"], one["shape"] = [0] * many, random.choice([[many, 1], [1, many], [many]])
    elif how == 3:
        one["values"][random.randrange(n)] = value(random)
    else:
        one["array"] = random.choice([0, 1, -1, 10**9, value(random)])
    return "\n".join(map(dumps, lines)).encode("utf-8", "surrogatepass")


def receipt_sums(random: Random, text: str) -> bytes:
    """Add arrays to themselves, line after line: 2^n terms in n lines, or n calls inside one another."""
    lines = text.splitlines()
    loss = next(
        line
        for line in map(json.loads, lines)
        if line.get("function") == "mean_squared_error_fwd" or "loss" in line.get("outputs", {})
    )
    last, again = loss["outputs"]["loss"], []
    for i in range(random.choice([5, 20, 40, 40, 1000])):
        total = 2 * last["values"][0] if random.random() < 0.99 else 0.0
        added = {**last, "array": 10_000 + i, "values": [total if total < 1e30 else 1.0]}
        again.append(
            {
                "call": 10_000 + i,
                "place": "penalty",
                "function": "add_fwd",
                "formula": {"y": "a + b"},
                "options": {},
                "inputs": {"a": last["array"], "b": last["array"]},
                "outputs": {"y": added},
            }
        )
        last = added
    result = json.loads(lines[-1])
    result["result"]["loss"] = last["array"]
    return "\n".join([*lines[:-1], *map(json.dumps, again), json.dumps(result)]).encode()


def receipt_bytes(random: Random, text: str) -> bytes:
    return random.choice([bits, blocks, ends])(random, text.encode())


RECEIPTS: tuple[Callable[[Random, str], bytes], ...] = (
    receipt_edits, receipt_edits, receipt_lines, receipt_arrays, receipt_sums, receipt_bytes,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A hostile file: which it is, how it was made, from which sound one, and what is in it."""

    seed: int
    number: int
    how: str
    source: int
    content: bytes

    @property
    def ending(self) -> str:
        return ".jsonl" if self.how.startswith("receipt") else ".safetensors"


def case(sound: Sound, seed: int, number: int) -> Case:
    """Return one case, always the same for a seed and a number."""
    random = Random(f"{seed} {number}")
    if random.random() < 0.15:
        make, source = random.choice(RECEIPTS), random.randrange(len(sound.receipts))
        return Case(seed, number, make.__name__, source, make(random, sound.receipts[source]))
    chosen, source = random.choice(MODELS), random.randrange(len(sound.files))
    return Case(seed, number, chosen.__name__, source, chosen(random, sound.files[source]))


class Broken(AssertionError):
    """A promise that a file broke."""


@dataclass
class Report:
    """What became of all cases, and the smallest of each kind of failure."""

    seed: int
    cases: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: dict[str, tuple[Case, str]] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[float, int] = (0.0, -1)

    def add(self, case: Case, outcome: str, seconds: float, memory: float) -> None:
        self.cases += 1
        self.outcomes[case.how, outcome] += 1
        self.slowest = max(self.slowest, (seconds, case.number))
        self.largest = max(self.largest, (memory, case.number))

    def fail(self, case: Case, kind: str, text: str) -> None:
        old = self.failures.get(kind)
        if old is None or len(case.content) < len(old[0].content):
            self.failures[kind] = case, text

    def __str__(self) -> str:
        rows = [f"{how:16} {outcome:12} {count:7,}" for (how, outcome), count in sorted(self.outcomes.items())]
        memory = f"{self.largest[0] / 1e6:.1f} MB beyond {TIMES:.0f} times the file (number {self.largest[1]})"
        slowest = f"{self.slowest[0]:.2f} s (number {self.slowest[1]})"
        rows.append(f"{self.cases:,} files, seed {self.seed}; slowest {slowest}; most memory {memory}")
        for kind, (case, text) in self.failures.items():
            rows.append(
                f"FAILED {kind}: seed {case.seed}, number {case.number}, {case.how}, {len(case.content):,} bytes\n{text}"
            )
        return "\n".join(rows)


def attack(seconds: float, seed: int, *, most: int | None = None, first: int = 0, keep: Path | None = None) -> Report:
    """Read hostile files for so many seconds, or so many of them, and report what became of them."""
    report, began, number = Report(seed), time.perf_counter(), first
    with tempfile.TemporaryDirectory(prefix="bpengine-attack-") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        sound = Sound.written(folder)
        tracemalloc.start()
        try:
            while time.perf_counter() - began < seconds and (most is None or number - first < most):
                judge(case(sound, seed, number), sound, folder, report)
                number += 1
        finally:
            tracemalloc.stop()
            faulthandler.cancel_dump_traceback_later()
    for kind, (failed, text) in report.failures.items() if keep is not None else ():
        assert keep is not None
        keep.mkdir(exist_ok=True)
        stem = "".join(c if c.isalnum() else "-" for c in kind)[:60]
        (keep / f"{stem}-{failed.seed}-{failed.number}{failed.ending}").write_bytes(failed.content)
        (keep / f"{stem}-{failed.seed}-{failed.number}.txt").write_text(text, encoding="utf-8")
    return report


def judge(case: Case, sound: Sound, folder: Path, report: Report) -> None:
    """Read one file, and write down what became of it."""
    path = folder / f"hostile{case.ending}"
    path.write_bytes(case.content)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # a hang that no exception can end
    tracemalloc.reset_peak()
    before, began = tracemalloc.get_traced_memory()[0], time.perf_counter()
    outcome, failure = _read(path, case, sound)
    seconds = time.perf_counter() - began
    memory = tracemalloc.get_traced_memory()[1] - before - TIMES * len(case.content)
    report.add(case, outcome, seconds, memory)
    if failure is not None:
        report.fail(case, *failure)
    if seconds > SECONDS:
        report.fail(case, "slow", f"{seconds:.1f} s")
    if memory > MEMORY:
        report.fail(case, "memory", f"{memory / 1e6:.1f} MB more than {TIMES:.0f} times its size")


def _read(path: Path, case: Case, sound: Sound) -> tuple[str, tuple[str, str] | None]:
    refusal = bp.DataError if case.ending == ".jsonl" else bp.ModelFileError
    try:
        _verified(path) if case.ending == ".jsonl" else _loaded(path, sound, case)
    except refusal as error:
        text = str(error)
        if path.name not in text or not text.isprintable() or len(text) > 1500:
            return "unclear", ("unclear", f"{len(text)} characters: {text[:400]!r}")
        return "refused", None
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {Path(place.filename).name} {place.name}"
        return "failed", (kind, "".join(traceback.format_exception(error, limit=-6))[-3000:])
    return "read", None


def _verified(path: Path) -> None:
    text = str(verify(path))
    if len(text) > 1500 or not text.isprintable():
        raise Broken(f"the verdict is no line: {text[:300]!r}")


def _loaded(path: Path, sound: Sound, case: Case) -> None:
    """Load a file, which must then be a model that can be used, and take its parameters over."""
    with contextlib.suppress(bp.ModelFileError):
        sound.models[case.source].load_parameters(path)
    model = bp.load(path, **OWN)
    for name, array in {**model.parameters, **model.running}.items():
        if array.dtype != model.dtype or not np.isfinite(array).all():
            raise Broken(f"{name} is of {array.dtype}, or not finite")
    repr(model)
    if model.network.inputs <= 10_000 and len(model.network.layers) < 100:
        model.forward(np.ones((1, model.network.inputs)))
    model.save(path.with_name("again"))


if __name__ == "__main__":
    sys.exit(run("files", __doc__, partial(attack, keep=KEPT)))
