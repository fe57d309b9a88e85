"""The shape of the code: one name for one thing, packages that can be looked over, calls that say what they pass."""

from __future__ import annotations

import ast

from tests import shape

FILES = shape.trees()

# One file name in two packages is one concept in two packages: a layer and its kernel, a command and what it calls.
SAME_CONCEPT = {
    "accumulate.py": "the kernel that adds gradients of batches; the sum over all paths of the chain rule",
    "backend.py": "the interface, and each backend's own",
    "class_names.py": "of data sets, and how the command line reads them",
    "compare.py": "the comparison of backends and its command",
    "dense.py": "kernel and layer",
    "dropout.py": "kernel and layer",
    "elements.py": "of an array, and of a graph",
    "expressions.py": "each compiler's code of an operation",
    "figure.py": "of the benchmark, and of the command explain",
    "graph.py": "the computational graph, and the example that builds one",
    "network.py": "a network, and its figure",
    "nonfinite.py": "the first number of a step that is not finite, while training and in a trace",
    "ops.py": "the bound kernels, and those that note kinks",
    "options.py": "of data sets, and of the command explain",
    "result.py": "of an example, and what the results of explain share",
    "rows.py": "of a batch: as a fit takes them, for derivatives, and the CUDA code that works row by row",
    "step.py": "a training step, and the step function",
    "sweep.py": "a sweep and its figure",
    "target.py": "what a compiler answers, and each compiler's answers",
    "text.py": "of an explanation, and of model files",
    "update.py": "of a parameter, as it is trained and as it is explained",
    "views.py": "ways to look at an array, and at a step",
}

# A named tuple of more than five fields is used as a tuple; any other record is a dataclass, whose call names its values.
WIDE_TUPLES = {
    "Arrays": "public since the first version, and begins with x and y",
    "BatchNormResidual": "a residual: its fields are the leaves that a backend's compiler passes in order",
    "Functions": "the exported functions in the order in which they stand in the object code",
    "Run": "public, called as Run(training, counter), and copied by `_replace` in layers of users",
    "SoftmaxCrossEntropyResidual": "a residual: its fields are the leaves that a backend's compiler passes in order",
}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert shape.import_circles(FILES) == set()


def test_import_circle_is_found_wherever_the_import_is() -> None:
    sources = {
        "a/__init__.py": "",
        "a/low.py": "import os",
        "a/one.py": "from a import low, two",
        "a/two.py": "def f():\n    from a.three import name",
        "a/three.py": "if TYPE_CHECKING:\n    import a.one",
        "a/top.py": "from a.one import name",
    }
    files = {shape.ROOT / path: ast.parse(source) for path, source in sources.items()}
    assert shape.import_circles(files) == {"a.one", "a.two", "a.three"}
    files[shape.ROOT / "a/three.py"] = ast.parse("from a import low")
    assert shape.import_circles(files) == set()


def test_a_class_name_stands_once() -> None:
    assert {name for name, times in shape.class_names(FILES).items() if times > 1} == set()


def test_a_file_name_stands_twice_only_for_one_concept_in_two_packages() -> None:
    assert {name for name, times in shape.file_names().items() if times > 1} == set(SAME_CONCEPT)


def test_no_package_has_too_many_files() -> None:
    assert shape.crowded() == {}


def test_call_with_many_values_uses_keywords() -> None:
    assert shape.positional_calls(FILES) == []


def test_wide_constructor_is_keyword_only() -> None:
    assert shape.wide_constructors(FILES) == []


def test_wide_constructor_is_found_with_every_decorator() -> None:
    fields = "".join(f"    {name}: int\n" for name in "abcdef")
    at = shape.ROOT / "module.py"
    for decorator in ("@dataclass", "@dataclass(frozen=True)"):
        assert shape.wide_constructors({at: ast.parse(f"{decorator}\nclass A:\n{fields}")}) == ["module.py:A"]
    named = [
        f"@dataclass(kw_only=True)\nclass A:\n{fields}",
        f"@dataclass\nclass A:\n    z: int\n    _: KW_ONLY\n{fields}",
    ]
    assert not any(shape.wide_constructors({at: ast.parse(source)}) for source in named)


def test_a_named_tuple_of_many_fields_is_one_whose_order_is_used() -> None:
    assert shape.wide_tuples(FILES) == set(WIDE_TUPLES)


def test_wide_named_tuple_is_found() -> None:
    fields = "".join(f"    {name}: int\n" for name in "abcdef")
    assert shape.wide_tuples({shape.ROOT: ast.parse(f"class A(NamedTuple):\n{fields}")}) == {"A"}
    assert not shape.wide_tuples({shape.ROOT: ast.parse(f"class A(NamedTuple):\n{fields[:-11]}")})


def test_no_value_has_a_filler_name() -> None:
    assert shape.empty_names(FILES | shape.trees(shape.BESIDE)) == []


def test_filler_name_is_found_wherever_it_is_bound() -> None:
    lines = [
        "def f(found): ...",
        "given = 1",
        "told: int",
        "made, _ = f()",
        "for found in f(): ...",
        "(given := 1)",
        "[told for told in f()]",
        "with f() as made: ...",
        "lambda found: 0",
        "def f(*given, **made): ...",
        "import a as told",
        "def found(): ...",
    ]
    at = shape.ROOT / "module.py"
    assert all(shape.empty_names({at: ast.parse(line)}) for line in lines)
    assert shape.empty_names({at: ast.parse("array.found = array.given(told=made)")}) == []


def test_the_numbers_of_the_report_come_from_the_sources() -> None:
    comments, lines = shape.comment_lines()
    assert 0 < comments < lines
    assert len(shape.functions(FILES)) > len(FILES)
    assert shape.route(lambda: None) == (set(), 0, [])
