"""Common parts of the three forms of a pass: the operands they read, and the names of values in their code.

A value is `v` and its node's number, an operand read from memory `r`, an accumulated sum `a`, a vector to be written `w`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bpengine_steps.access import COLUMN, FULL, ONE, ROW, AccessPattern, access
from bpengine_steps.ir import FusionGroup, StepNode

from bpengine_cupy.cuda_target.expressions import c_type, expression, literal

THREADS = 256
MULTIPROCESSORS = 132  # multiprocessors of a Hopper GPU: grids have a few blocks for each
VECTOR = 16  # bytes that a thread reads at once
APART = ("finish", "dot")  # operations of a pass that read whole lines of their operands
Names = dict[int, str]


def operands(group: FusionGroup) -> dict[int, tuple[StepNode, AccessPattern]]:
    """Return the arrays that a pass reads element by element, and the access pattern of each.

    Partial sums and operands of products are not among them: they are not read element by element.
    """
    own, patterns = group.own, {}
    for node in group.nodes:
        for operand in node.inputs:
            if operand.base.number in own or operand.uniform is not None or node.op in APART:
                continue
            patterns[operand.number] = (
                operand,
                FULL if node.op in ("partial", "reduce") else access(operand, node.shape),
            )
    return patterns


def value(node: StepNode, names: Names) -> str:
    """Return the name of a node's value, or of the array it is a view of, or a constant's literal.

    A view that the pass reads from memory has a separate name from that of its array.
    """
    for number in (node.number, node.base.number):
        if number in names:
            return names[number]
    assert node.uniform is not None  # what has no name is a constant
    return literal(node.uniform)


def computed(node: StepNode, names: Names) -> str:
    """Return a node's value as an expression of its operands' names."""
    return expression(node, [value(operand, names) for operand in node.inputs])


def declared(node: StepNode, names: Names, expressed: str = "") -> str:
    """Return the declaration of a node's value, and give it its name; `expressed` is the expression of a product."""
    line = f"const {c_type(node.dtype)} v{node.number} = {expressed or computed(node, names)};"
    names[node.number] = f"v{node.number}"
    return line


@dataclass(frozen=True)
class Load:
    """How an operand is read: `line` declares `name`, once before the loop where `early` is true."""

    line: str
    name: str
    early: bool = False


def load(node: StepNode, how: AccessPattern, vector: int, pointer: str) -> Load:
    """Return the load of an operand in a pass over elements k, at row i and column j, `vector` elements at a time."""
    kind, name = c_type(node.dtype), f"r{node.number}"
    if how == ONE:
        return Load(f"const {kind} {name} = {pointer}[0];", name, early=True)
    if how in (FULL, ROW):
        place = "k" if how == FULL else "j"
        return Load(f"const auto {name} = load<{kind}, {vector}>({pointer} + {place});", f"{name}.v[u]")
    place = "i" if how == COLUMN else f"i8(i) * {how.down} + i8(j) * {how.along}"
    return Load(f"const {kind} {name} = {pointer}[{place}];", name)


def dot(node: StepNode, place: Callable[[StepNode], object], i: str, j: str) -> str:
    """Return the element (i, j) of a product inside of a pass; place(operand) is the place of an operand in memory."""
    (left, right), kind = node.inputs, c_type(node.dtype)
    terms, (down, along), (across, aside) = left.shape[1], left.strides, right.strides
    length = VECTOR // node.dtype.itemsize
    # both operands are read along their rows, from places that are multiples of 16 bytes
    steps = [terms, down, aside, left.offset, right.offset]
    vector = length if along == across == 1 and not any(n % length for n in steps) else 1
    row, column = f"AT(const {kind}, {place(left)}) + {i} * {down}", f"AT(const {kind}, {place(right)}) + {j} * {aside}"
    return f"dot<{kind}, {terms}, {along}, {across}, {vector}>({row}, {column})"


def accumulated(target: str, node: StepNode, names: Names) -> str:
    """Return the statement that adds a summand of a partial sum to `target`."""
    return f"{target} = {node.info[0]}({target}, {value(node.inputs[0], names)});"


def vector_length(
    group: FusionGroup, read: Sequence[tuple[StepNode, AccessPattern]], stored: set[int], fits: Callable[[int], bool]
) -> int:
    """Return how many elements a thread handles at once: 16 bytes of the widest type, or 1 if sizes or alignment forbid it."""
    sizes = [node.dtype.itemsize for node, how in read if how.name in ("full", "row")]
    sizes += [n.dtype.itemsize for n in group.nodes if n.number in stored and n.op not in ("partial", "finish")]
    length = VECTOR // max(sizes, default=1)
    apart = any(how.name == "steps" or (node.offset * node.dtype.itemsize) % VECTOR for node, how in read)
    return 1 if apart or not fits(length) else length


def indented(lines: Sequence[str], depth: int = 1) -> list[str]:
    """Return the lines indented by two blanks for each level of depth."""
    return ["  " * depth + line for line in lines]
