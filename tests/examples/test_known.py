"""The table of known numbers is whole: every published number is either close to its reference or explained."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from bpengine import examples
from bpengine.errors import ConfigError
from bpengine.examples.known import known

COUNTS = {
    "xor_221_bias_trick": 4,
    "mazur_222": 20,
    "statquest_dosage_inside_black_box": 2,
    "statquest_dosage_b3": 10,
    "statquest_dosage_w3_w4_b3": 8,
    "statquest_dosage_all_parameters": 2,
    "statquest_book_relu": 4,
    "ng_check_nn_gradients": 2,
    "ng_tutorial_case_2_2_4": 4,
    "ng_ex4_digits_cost": 4,
    "nielsen_single_neuron": 6,
    "nielsen_mnist_784_30_10": 0,
    "cs231n_fc_two_layer_net": 3,
    "cs231n_toy_net_seeded": 2,
    "cs231n_lecture4_circuits": 8,
    "cs231n_optimisers": 7,
    "tf_playground_semantics": 0,
    "colah_computational_graph": 3,
    "trask_xor_3_layer": 2,
    "rashid_333": 4,
    "brownlee_212_and_222": 7,
    "micrograd_readme": 3,
}


def table() -> dict[str, Any]:
    return json.loads(files("bpengine.examples").joinpath("known_examples.json").read_text(encoding="utf-8"))[
        "examples"
    ]


def test_names_are_those_of_the_22_examples() -> None:
    assert tuple(COUNTS) == examples.names()
    assert examples.EXAMPLES.keys() == COUNTS.keys()


def test_examples_have_105_published_numbers() -> None:
    counts = {name: sum("published" in row for row in entry["expected"].values()) for name, entry in table().items()}
    assert counts == COUNTS
    assert sum(counts.values()) == 105


@pytest.mark.parametrize("name", COUNTS)
def test_every_published_number_is_near_its_reference_or_explained(name: str) -> None:
    for quantity, row in table()[name]["expected"].items():
        if "published" in row and row["tol_published"] is not None:
            np.testing.assert_allclose(
                row["published"], row["value"], rtol=0, atol=row["tol_published"], err_msg=quantity
            )  # fmt: skip
        elif "published" in row:
            assert row["explained"].endswith("."), quantity


@pytest.mark.parametrize("name", COUNTS)
def test_errata_and_reasons_are_sentences(name: str) -> None:
    entry = known(name)
    assert entry.source
    assert entry.summary
    for sentence in (*entry.errata, *filter(None, [entry.reason])):
        assert sentence.endswith("."), sentence


def test_examples_without_published_numbers_say_why() -> None:
    silent = {name for name, count in COUNTS.items() if not count}
    assert all(known(name).reason for name in silent)


def test_unknown_example_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown example 'mazur'\. Did you mean 'mazur_222'"):
        examples.run("mazur")
