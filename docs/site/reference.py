"""The pages of the API reference: each public name once, by the shortest way in which a user may write it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import bpengine as bp
from docs.site.docstrings import DATA, first_sentence, known_names, reference_to, restructured
from docs.site.pages import Stage


@dataclass(frozen=True)
class Section:
    """A page of the reference, and the public modules whose names stand on it."""

    page: str
    title: str
    modules: tuple[str, ...]


SECTIONS = (
    Section("model", "Models and networks", ("bpengine.model", "bpengine.network")),
    Section("layers", "Layers", ("bpengine.layers", "bpengine.layers.initializers")),
    Section("losses", "Losses and penalties", ("bpengine.losses", "bpengine.penalties")),
    Section("training", "Training", ("bpengine.training", "bpengine.many", "bpengine.callbacks")),
    Section("data", "Data", ("bpengine.data",)),
    Section("check", "Checks of gradients and backends", ("bpengine.check",)),
    Section("explain", "Explanations", ("bpengine.explain", "bpengine.explain.figures", "bpengine.explain.page")),
    Section("derivatives", "Derivatives beyond the gradient", ("bpengine.derivatives",)),
    Section("sklearn", "Estimators for scikit-learn", ("bpengine.sklearn",)),
    Section("kernels", "Kernels and bound operations", ("bpengine.kernels", "bpengine.ops")),
    Section(
        "backends",
        "Backends and processes",
        ("bpengine.backend", "bpengine.distributed", "bpengine.system.process_caches"),
    ),
    Section("examples", "Worked examples of the literature", ("bpengine.examples",)),
    Section("benchmark", "Benchmarks", ("bpengine.benchmark",)),
    Section("errors", "Errors, and the language of messages", ("bpengine.errors", "bpengine.system.chosen_language")),
)
SHORT_ONLY = (
    *("bpengine.distributed", "bpengine.system.process_caches", "bpengine.model", "bpengine.network"),
    *("bpengine.many", "bpengine.system.chosen_language"),
)
"""Modules that are not public themselves: of these only what `bpengine` itself offers."""


@dataclass(frozen=True)
class PublicName:
    """A public object and the name under which the reference has it."""

    name: str  # "bpengine.Dense", "bpengine.explain.figures.draw"
    value: Any
    page: str
    module: str  # whose names it is listed with

    @property
    def kind(self) -> str:
        """What Sphinx calls it: "class", "exception", "function" or "data"."""
        if inspect.isclass(self.value):
            return "exception" if issubclass(self.value, BaseException) else "class"
        return "function" if inspect.isroutine(inspect.unwrap(self.value)) else "data"


def public_names() -> dict[str, PublicName]:
    """Return every public object by the name of the reference, each once, in the order of the pages."""
    of_engine = {id(offered("bpengine", name)): f"bpengine.{name}" for name in bp.__all__}
    listed: dict[int, PublicName] = {}
    for section in SECTIONS:
        for module in section.modules:
            for name in names_of(module):
                value = offered(module, name)
                if inspect.ismodule(value):
                    continue
                if module in SHORT_ONLY and id(value) not in of_engine:
                    continue
                if id(value) in listed and name != getattr(value, "__name__", name):  # an earlier name
                    continue
                shortest = of_engine.get(id(value), f"{module}.{name}")
                if id(value) not in listed or not listed[id(value)].name.endswith(f".{name}"):
                    listed[id(value)] = PublicName(shortest, value, f"reference/{section.page}", module)
    return {public.name: public for public in listed.values()}


def offered(module: str, name: str) -> Any:
    """Return what a module offers by a name; of `bp.explain`, a package that can be called, the function that is called."""
    value = getattr(import_module(module), name)
    return type(value).__call__ if value is bp.explain else value


def names_of(module: str) -> list[str]:
    """Return the names that a module offers: its `__all__`, else what it defines itself."""
    imported = import_module(module)
    own = [k for k, v in vars(imported).items() if not k.startswith("_") and _is_of(v, module)]
    return sorted(getattr(imported, "__all__", own))


def _is_of(value: Any, module: str) -> bool:
    return getattr(value, "__module__", None) == module and (inspect.isclass(value) or inspect.isroutine(value))


def write_reference(stage: Stage) -> None:
    """Write a page for each section, and the list of all names."""
    names = public_names()
    for section in SECTIONS:
        page = f"reference/{section.page}"
        here = [public for public in names.values() if public.page == page]
        stage.write(f"{page}.rst", "\n".join(_page(section, here)) + "\n")
    stage.write("reference/index.rst", "\n".join(_index(list(names.values()))) + "\n")


def _page(section: Section, names: list[PublicName]) -> Iterator[str]:
    yield from (section.title, "=" * len(section.title), "")
    public = [module for module in section.modules if module not in SHORT_ONLY]
    for module in section.modules:
        if len(public) > 1 and module in public:
            yield from (module, "-" * len(module), "")
        if module in public:
            yield from (f".. automodule:: {module}", "   :no-members:")
            yield from (
                ("   :no-index:", "") if module == "bpengine.explain" else ("",)
            )  # the function has this name, too
        yield from (".. py:currentmodule:: None", "")
        for name in names:
            if name.module == module:
                yield from _entry(name)


def _entry(public: PublicName) -> Iterator[str]:
    if public.kind == "data":
        sentence = f"{DATA[public.name]} An example is on the page of :doc:`examples </examples>`."
        yield from (f".. py:data:: {public.name}", "", f"   {sentence}", "")
        return
    if public.value is offered("bpengine", "explain"):  # autodoc would see the package
        signature = str(inspect.signature(public.value)).replace("'", "")
        yield from (f".. py:function:: {public.name}{signature}", "")
        yield from (f"   {line}".rstrip() for line in restructured(public.value.__doc__, known_names()))
        yield ""
        return
    yield f".. auto{public.kind}:: {public.name}"
    if public.kind == "class":
        yield from ("   :members:", "   :inherited-members:")
    if ">>>" not in (public.value.__doc__ or ""):
        yield from ("", "   An example is on the page of :doc:`examples </examples>`.")
    yield ""


def _index(names: list[PublicName]) -> Iterator[str]:
    yield from ("API reference", "=============", "")
    yield "Every public name, from its docstring; ``import bpengine as bp``. A test runs the example of each."
    yield from ("", ".. toctree::", "   :maxdepth: 1", "", *(f"   {section.page}" for section in SECTIONS), "")
    for section in SECTIONS:
        here = [public for public in names if public.page == f"reference/{section.page}"]
        yield from (f".. rubric:: {section.title}", "", ".. list-table::", "   :widths: 35 65", "")
        for public in sorted(here, key=lambda public: public.name.lower()):
            yield from (f"   * - {reference_to(public.name)}", f"     - {first_sentence(public)}")
        yield ""
