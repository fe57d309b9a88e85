"""Decide whether a step is small enough to be one function, and whether a call table is the one for which it was made."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from bpengine_steps.adaptive import Beside, CompilingJob, Pieces
from bpengine_steps.ir import FusionGroup, HostArray, StepNode, axes
from bpengine_steps.memory_plan import MemoryPlan
from bpengine_steps.plan import ExecutionPlan

from bpengine_numpy.llvm_target.codegen import Loop
from bpengine_numpy.llvm_target.interpreter import NUMPY_LOOP, ROW, functions
from bpengine_numpy.llvm_target.object_code.loop_cache import addresses, on_disk
from bpengine_numpy.llvm_target.products.product_orders import MOST, ProductForm, is_known, order_of
from bpengine_numpy.llvm_target.row_reductions import row_length
from bpengine_numpy.llvm_target.rows.row_width import adds_in_this_order
from bpengine_numpy.llvm_target.whole_step import exponential
from bpengine_numpy.llvm_target.whole_step.step_text import StepText

LARGEST = 64  # the most elements of an array of such a step: with more, calls are a small part of a step
LONGEST = 64  # the most calls of such a step
WORTH = 0.25  # seconds of native work after which the function is compiled, which takes about as long
ANY = -1  # in place of an address: any function that the table calls there


class StepFunction:
    """The function of a step: its text, and the calls that a table must have, row by row. Created when it is needed."""

    def __init__(self, plan: ExecutionPlan, loops: Mapping[FusionGroup, Loop]) -> None:
        self._plan, self._loops = plan, loops
        self._written: WrittenStep | None = None
        self._address, self._spent = 0, 0.0
        self._wanted: HostArray | None = None  # what a table has to call, row by row
        self._job: CompilingJob | None = None

    @property
    def source(self) -> str:
        """The function's text; NumPy's products are tested for it unless they were tested before."""
        self._written = self._written or _StepWriter(self._plan, self._loops).written()
        return self._written.source

    def compile(self) -> None:
        """Compile the function now."""
        (self._address,) = addresses(self.source)

    def pieces(self) -> Pieces:
        """Compile the function, in one piece."""
        self.compile()
        yield None

    def spend(self, seconds: float, beside: Beside) -> None:
        """Add to the time of native work without the function; once that is enough, compile `beside` the fit."""
        self._spent += seconds
        if not self._address and self._job is None and self._spent >= WORTH:
            self._job = beside.start(self.pieces())

    def load(self) -> None:
        """Load the function into the process if it was compiled before."""
        nodes = [group.nodes[0] for group in self._plan.groups if group.kind == "single"]
        forms = [form for node in nodes if (form := _tiny_form(node))]
        tested = all(map(is_known, forms)) and (exponential.is_known() or not any(map(_is_exponential, nodes)))
        if tested and on_disk(self.source):
            self.compile()

    def runs(self, table: HostArray, loops: Mapping[Loop, int]) -> int:
        """Return the address of the function where it may run this table, else 0; `loops` are the addresses of the loops."""
        if not self._address or not self._written or len(table) != len(self._written.expected):
            return 0
        if self._wanted is None:
            wanted = [call if isinstance(call, int) else loops[call] for call in self._written.expected]
            self._wanted = np.array(wanted, np.int64)
        same = (table[:, 0] == self._wanted) | (self._wanted == ANY)
        return self._address if same.all() else 0


def step_function(plan: ExecutionPlan, loops: Mapping[FusionGroup, Loop]) -> StepFunction | None:
    """Return the function of a step, None for one that is too large, calls the host or loops over shards."""
    groups = [group for group in plan.groups if group.kind != "tail"]
    nodes = [node for group in groups for node in (*group.nodes, *group.reads)]
    single = [group.nodes[0] for group in groups if group.kind == "single"]
    if (
        len(groups) > LONGEST
        or any(n.base.size > LARGEST for n in nodes)
        or any(n.op in ("outside", "loop") for n in single)
    ):
        return None
    return StepFunction(plan, loops)


class WrittenStep(NamedTuple):
    """A step's function as text, and the call that a table must have in each row: an address, a loop, or ANY."""

    source: str
    expected: list[int | Loop]


class _StepWriter:
    """Writes the calls of a step in the order of `CallTable`, and the required call of each row."""

    def __init__(self, plan: ExecutionPlan, loops: Mapping[FusionGroup, Loop]) -> None:
        self._plan, self._loops, self._text = plan, loops, StepText(own=plan.memory.size)
        self._expected: list[int | Loop] = []
        self._own = self._own_arrays()

    def written(self) -> WrittenStep:
        """Return the function."""
        step = self._plan.step
        for _ in step.rows if self._plan.ordered else ():
            self._other()
        self._number(step.rate, functions().take_rows, brings=True)
        for group in self._plan.groups:
            self._group(group)
        for node in step.reports.values():
            self._number(node, functions().put_report, brings=False)
        return WrittenStep(str(self._text), self._expected)

    def _own_arrays(self) -> frozenset[int]:
        """Return the arrays of the memory plan that nothing but the function uses.

        Those that are written one over the other lie in the same place, here as there.
        """
        step, memory = self._plan.step, self._plan.memory
        reported = [node for name, node in step.reports.items() if name == "halt" or node.size > 1]
        shared = [*(step.rows if self._plan.ordered else ()), *reported]
        for group in self._plan.groups:
            if group.kind != "tail" and not self._is_own(group):
                shared += [*group.nodes, *group.reads, *([group.replaced] if group.replaced else [])]
        taken = {_first_there(node.base.number, memory) for node in shared}
        return frozenset(number for number in memory.places if _first_there(number, memory) not in taken)

    def _is_own(self, group: FusionGroup) -> bool:
        """Say whether a group's calls become a part of the function."""
        if group.kind == "pass":
            return self._loops[group].words < ROW  # else the arguments lie elsewhere
        if group.kind != "single":
            return False
        node = group.nodes[0]
        return _is_written_total(node) or _written_product(node) is not None or _is_written_exponential(node)

    def _places(self, **nodes: StepNode) -> dict[str, int]:
        """Return where in the function's own memory arrays begin, by name; those that do not lie there are left out."""
        own = {name: node for name, node in nodes.items() if node.base.number in self._own}
        return {name: self._plan.memory.at(node) for name, node in own.items()}

    def _group(self, group: FusionGroup) -> None:
        if group.kind == "pass" and self._is_own(group):
            loop = self._loops[group]
            places = self._places(**{f"a{k}": node for k, node in enumerate(loop.arrays)})
            self._text.loop(loop.source, loop.rows, loop.columns, loop.columns, places)
            self._expected.append(loop)
        elif group.kind == "single":
            self._single(group.nodes[0])
        elif group.kind != "tail":
            self._other()

    def _single(self, node: StepNode) -> None:
        if node.op == "matmul" and node.info is not None:  # by a chosen library, from the function that the table calls
            self._other()
        elif node.op in ("matmul", "ufunc", "plus"):
            self._numpys(node)
        elif _is_written_total(node):
            self._text.total(node.dtype, row_length(node), self._places(target=node, source=node.inputs[0]))
            self._expected.append(ANY)
        else:
            for _ in node.inputs if node.op == "concat" else (node,):
                self._other()

    def _numpys(self, node: StepNode) -> None:
        """Write an operation as instructions if they are known to give NumPy's bits; otherwise call NumPy's loop."""
        product = _written_product(node)
        if product:
            a, b = node.inputs
            self._text.product(*product, self._places(a=a, b=b, y=node))
        elif _is_written_exponential(node):
            columns = (axes(node.shape) or (1,))[-1] if len(axes(node.shape)) > 1 else 1
            self._text.exponentials(node.size // columns, columns, self._places(x=node.inputs[0], y=node))
        else:
            self._text.numpys()
        self._expected.append(ANY if node.op == "matmul" else NUMPY_LOOP)

    def _number(self, node: StepNode, function: int, *, brings: bool) -> None:
        """Write the copy of a single number; anything else is copied by the function that the table calls."""
        if node.size == 1:
            places = self._places(target=node) if brings else self._places(source=node)
            self._text.number(node.dtype.itemsize, places, brings=brings)
            self._expected.append(function)
        else:
            self._other()

    def _other(self) -> None:
        self._text.other()
        self._expected.append(ANY)


def _first_there(number: int, memory: MemoryPlan) -> int:
    """Return the array over which one is written, directly or by others, or the array itself."""
    while number in memory.shares:
        number = memory.shares[number].base.number
    return number


def _written_product(node: StepNode) -> tuple[ProductForm, str] | None:
    """Return the form and the order of a product that is written out, else None."""
    form = _tiny_form(node)
    order = order_of(form) if form else ""
    return (form, order) if form and order else None


def _is_written_exponential(node: StepNode) -> bool:
    return _is_exponential(node) and exponential.is_numpys()


def _is_written_total(node: StepNode) -> bool:
    return _is_total(node) and adds_in_this_order(node.dtype, row_length(node))


def _tiny_form(node: StepNode) -> ProductForm | None:
    """Return the form of a product that can be written as instructions, else None."""
    form = ProductForm.of(node) if node.op == "matmul" else None
    return form if form and prod(form.sizes) <= MOST else None


def _is_exponential(node: StepNode) -> bool:
    """Tell whether a node is exp of float32 numbers, element by element."""
    single = node.op == "ufunc" and node.info == "exp" and node.dtype == np.dtype(np.float32)
    return single and node.inputs[0].size == node.size


def _is_total(node: StepNode) -> bool:
    """Tell whether a node is the sum of all numbers of an array."""
    known = node.dtype.itemsize in (4, 8) and node.dtype.isnative
    return node.op == "reduce" and node.info == ("add", "all") and known
