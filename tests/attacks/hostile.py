"""Hostile values: JSON that nobody would write, and edits of JSON trees by them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Path = tuple[Any, ...]


_MARKED = re.compile(r'"\\u0002((?:[^"\\]++|\\(?!u0002").)*+)\\u0002"')


def raw(text: str) -> str:
    """Return a mark for JSON text that shall stand in a tree as it is: numbers too long, brackets never closed."""
    return f"\x02{text}\x02"


def dumps(value: Any) -> str:
    """Return a tree as JSON, with what is marked as raw in it as it stands."""
    return _MARKED.sub(lambda match: str(json.loads(f'"{match[1]}"')), json.dumps(value))


PLAIN: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 1e308, 5e-324, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**9, 10**15, 10**30,
    10**99,
    "", " ", "0", "nan", "Dense", "Network", "Shared", "params/", "\x00", "\x1b[2J", "a\nb", "\u202e", "\ud800", "x" * 5000,
    "e\u0301",
    "float16", "float64", "F64", "I32", "S1000000000", "O", "<U9", "0.activation", [], {}, [[]], [0], [-1], [0, 0], [1, 2, 3],
    {"type": "Dense"}, {"type": "Shared", "place": "0"}, {"type": "Network"}, {"type": "Explicit"},
    {"type": "L2", "strength": 1},
    {"type": "CustomLoss"}, {"type": ["Dense"]}, {"": 0},
)  # fmt: skip
RAW: tuple[Callable[[Random], str], ...] = (
    lambda r: "1" + "0" * r.choice([20, 100, 101, 400, 4300, 5000, 100_000]),
    lambda r: "-" + "9" * r.choice([20, 400, 5000]),
    lambda r: r.choice(
        ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1e-400", "1E5", "-0", "01", "+1", "0x10", "1."]
    ),
    lambda r: "[" * (n := r.choice([10, 100, 170, 1000])) + "]" * r.choice([n, n - 1]),
    lambda r: '{"a":' * (n := r.choice([10, 100, 170, 1000])) + "1" + "}" * n,
    lambda r: '{"type": "Residual", "layers": [' * (n := r.choice([1, 5, 60, 70, 300])) + "]}" * n,
    lambda r: '{"units": 1, "units": 2}',
    lambda r: '"\\ud800"',
    lambda r: '"' + "\\u0041" * r.choice([10, 10_000]) + '"',
    lambda r: "[" + "0," * r.choice([10, 10, 100, 1000, 1000, 300_000]) + "0]",
    lambda r: '"unclosed',
    lambda r: "",
)


def value(random: Random) -> Any:
    """Return a hostile value."""
    return random.choice(PLAIN) if random.random() < 0.7 else raw(random.choice(RAW)(random))


def places(tree: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the place of every value of a tree."""
    yield at
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, item in inside:
        yield from places(item, (*at, name))


def subtree_at(tree: Any, at: Path) -> Any:
    """Return the value at a place."""
    for name in at:
        tree = tree[name]
    return tree


def edit(tree: Any, random: Random) -> Any:
    """Return a tree with one value changed: replaced, left out, doubled, renamed, moved, or made another number."""
    tree = json.loads(json.dumps(tree))
    every = list(places(tree))
    at = random.choice(every)
    if not at:
        return value(random)
    parent, name = subtree_at(tree, at[:-1]), at[-1]
    how = random.randrange(8)
    if how <= 2:
        parent[name] = value(random)
    elif how == 3:
        del parent[name]
    elif how == 4:
        parent[name] = subtree_at(json.loads(json.dumps(tree)), random.choice(every))
    elif how == 5 and isinstance(parent, list):
        parent.insert(name, parent[random.randrange(len(parent))])
    elif how == 5:
        parent[f"{name}{random.choice(['', '2', '.', '/'])}"] = parent.pop(name)
    elif how == 6:
        parent[name] = [parent[name]] if random.random() < 0.5 else {"type": parent[name]}
    else:
        parent[name] = _near(parent[name], random)
    return tree


def _near(old: Any, random: Random) -> Any:
    if isinstance(old, bool) or old is None:
        return random.choice([True, False, None, 0, 1])
    if isinstance(old, int):
        return old + random.choice([-1, 1, 2, 1000, 10**6, 10**12]) if random.random() < 0.7 else -old
    if isinstance(old, float):
        return random.choice([-old, old * 1e300, old * 1e-300, old + 1.0, int(old) if abs(old) < 1e18 else 0])
    if isinstance(old, str):
        return old[: random.randrange(len(old) + 1)] + random.choice(["", "x", "\x1b", "\u202e", "0"])
    return old
