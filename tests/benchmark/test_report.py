"""Tables and the figure, from a record written by hand."""

import copy
import re
import xml.etree.ElementTree as ElementTree

import pytest

from bpengine.benchmark.results import figure, record, report
from bpengine.errors import BackendUnavailable
from bpengine.extras import install_command
from bpengine.i18n import language
from bpengine.output.dark_svg import DARK
from tests.language.english_words import english


def work(name, group, batch, times, **more):
    results = {
        contender: {
            "ms_per_step": ms,
            "samples_per_second": 1e3 * batch / ms,
            "times_yardstick": times["jax-scan"] / ms,
            "share_of_floor": {"products": 0.5 / ms, "own_products": 0.6 / ms, "calls": 0.7 / ms},
            "memory": None,
            "spread": 0.05,
            "first_seconds": 0.4,
            "valid": True,
            "why_not": None,
        }
        for contender, ms in times.items()
    }
    fixed = {"sizes": [8, 4, 2], "optimizer": "adam", "dtype": "float32", "steps": 16, "flops": 2e9, "bytes": 3 * 2**20}
    floors = {"products": 0.5, "own_products": 0.6, "calls": 0.7}
    needed = {"memory_needed": {"total": 2**20}, "floor_ms": floors, "yardstick": "jax-scan", "failures": {}}
    return {"name": name, "group": group, "batch": batch, "results": results, **fixed, **needed, **more}


@pytest.fixture
def recorded():
    about = {"versions": {"numpy": "2.0", "llvmlite": None}, "note": "as it is", "start_seconds": 0.25}
    return {
        "bpengine": "9.9",
        "date": "2000-01-01",
        "command": "bpengine bench",
        "device": "cpu",
        "machine": {"CPU": "abacus"},
        "contenders": {"numpy": {"title": "bpengine, NumPy", **about}, "jax-scan": {"title": "JAX + optax", **about}},
        "missing": {"torch": "not installed. Install | it."},
        "limits": {
            "float32": {
                "library": "numpy 2.0",
                "best_product_flops_per_second": 4e11,
                "copy_bytes_per_second": {"8": 1e9, "64": 2e10},
            }
        },
        "workloads": [
            work("main-one", "main", 100, {"numpy": 1.0, "jax-scan": 2.0}),
            work("batch-1", "batches", 1, {"numpy": 0.5, "jax-scan": 0.25}),
            work("batch-8", "batches", 8, {"numpy": 0.75, "jax-scan": 1.0}),
        ],
    }


def test_the_rows_of_a_workload_are_sorted_by_time(recorded):
    first = recorded["workloads"][0]
    assert report.heads(first) == [
        "contender",
        "ms/step",
        "samples/s",
        "x jax-scan",
        "products' floor",
        "calls' floor",
        "spread",
    ]
    assert report.rows(first) == [
        ["numpy", "1", "100,000", "2.00", "50%", "70%", "5%"],
        ["jax-scan", "2", "50,000", "1.00", "25%", "35%", "5%"],
    ]


def test_memory_has_a_column_where_it_was_watched(recorded):
    first = recorded["workloads"][0]
    first["results"]["numpy"]["memory"] = {"growth": 5, "device": {}, "times_needed": 1.125}
    assert [row[-2] for row in report.rows(first)] == ["1.12", "-"]
    assert report.heads(first)[-2] == "memory, x need"


def test_times_by_events_and_launches_have_columns_where_they_are_known(recorded):
    """Times are in microseconds; an unknown value is a dash."""
    first = recorded["workloads"][0]
    first["results"]["numpy"] |= {
        "device_us_per_step": 900.0,
        "launches": {"kernels": 11, "copies": 0, "launches": 0.125},
    }
    first["results"]["jax-scan"] |= {"device_us_per_step": None, "launches": None}
    first["clocks"] = {"clocks.sm": "1980 MHz"}
    assert report.heads(first)[1:3] == ["us/step", "us/step, events"]
    assert report.heads(first)[-3:] == ["kernels/step", "launches/step", "spread"]
    rows = report.rows(first)
    assert rows[0][:3] == ["numpy", "1,000", "900"]
    assert rows[1][:3] == ["jax-scan", "2,000", "-"]
    assert [row[-3:-1] for row in rows] == [["11", "0.125"], ["-", "-"]]
    assert all(len(row) == len(report.heads(first)) for row in rows)
    assert report.notes(first) == ["After the turns: clocks.sm 1980 MHz."]


def test_a_precision_whose_limits_were_not_measured_has_no_shares(recorded, tmp_path):
    first = recorded["workloads"][0]
    first["results"]["numpy"]["share_of_floor"] = {}
    assert report.rows(first)[0][4:6] == ["-", "-"]
    figure.draw(recorded, tmp_path / "f.svg")


def test_omitted_contenders_are_listed(recorded):
    recorded["left_out"] = {"huge": "not begun within 5 s"}
    assert "| huge | not begun within 5 s |" in report.document(recorded)


def test_there_are_colours_for_any_number_of_contenders(recorded, tmp_path):
    about = recorded["contenders"]["numpy"]
    recorded["contenders"] |= {f"c{i}": {**about, "title": f"{'bpengine' * (i % 2)} {i}"} for i in range(30)}
    figure.draw(recorded, tmp_path / "f.svg")


def test_invalid_and_failed_rows_have_no_figures(recorded):
    first = recorded["workloads"][0]
    first["results"]["numpy"] |= {"valid": False, "why_not": "loss 1, the others 2"}
    first["failures"] = {"keras": "boom"}
    rows = {row[0]: row[1:] for row in report.rows(first)}
    assert set(rows["numpy"]) == {"not valid", ""}
    assert set(rows["keras"]) == {"failed", ""}
    assert report.notes(first) == ["numpy is not valid: loss 1, the others 2", "keras failed: boom"]
    assert report.summary(recorded)[1] == [["bpengine, NumPy", "-"], ["JAX + optax", "2"]]
    assert not record.sound(recorded)


def test_a_record_without_faults_is_sound(recorded):
    assert record.sound(recorded)


def test_the_summary_has_the_main_workloads(recorded):
    assert report.summary(recorded) == (["ms per step", "main-one"], [["bpengine, NumPy", "1"], ["JAX + optax", "2"]])


def test_the_page_has_everything(recorded):
    text = report.document(recorded)
    for part in (
        "abacus",
        "400 GFLOP/s",
        "20.0 GB/s",
        "## main-one: 8-4-2, batch 100, Adam, float32",
        "A step needs 2 GFLOP",
    ):
        assert part in text
    assert "numpy 2.0; as it is" in text
    assert "llvmlite" not in text
    assert "| torch | not installed. Install \\| it. |" in text
    for line in text.splitlines():
        if line.startswith("| contender"):
            assert line.count("|") == text.splitlines()[text.splitlines().index(line) + 1].count("|")


def test_without_limits_there_are_no_shares(recorded):
    first = recorded["workloads"][0]
    first["floor_ms"] = {}
    assert "Floor" not in report.costs(first)
    assert report.heads(first) == ["contender", "ms/step", "samples/s", "x jax-scan", "spread"]
    assert [len(row) for row in report.rows(first)] == [5, 5]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.000139, "0.000139"),
        (0.0000014, "0.0000014"),
        (0.12345, "0.123"),
        (4.5678, "4.57"),
        (45.678, "45.7"),
        (1234.5, "1,230"),
    ],
)
def test_numbers_are_rounded_to_three_significant_digits(value, text):
    assert report.figures(value) == text


def test_a_record_is_written_and_read(recorded, tmp_path):
    record.write(recorded, tmp_path / "r.json")
    assert record.read(tmp_path / "r.json") == recorded


def test_the_figure_shows_every_contender(recorded, tmp_path):
    figure.draw(recorded, tmp_path / "f.svg")
    text = "".join(ElementTree.parse(tmp_path / "f.svg").getroot().itertext())
    for title in ("bpengine, NumPy", "JAX + optax", "main-one", "batch size"):
        assert title in text
    figure.draw(recorded, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_the_figure_has_a_title_and_dots_side_by_side(recorded, tmp_path, monkeypatch):
    drawn = []
    shares = figure._shares
    monkeypatch.setattr(figure, "_shares", lambda axis, *rest: (shares(axis, *rest), drawn.append(axis)))
    figure.draw(recorded, tmp_path / "f.svg")
    text = "".join(ElementTree.parse(tmp_path / "f.svg").getroot().itertext())
    assert (
        f"Speed of training steps: {recorded['machine'].get('CPU', recorded['device'])}, {recorded['date'][:10]}"
        in text
    )
    (axis,) = drawn
    places = [x for line in axis.lines if line.get_linestyle() == "None" for x in line.get_xdata()]
    assert len(places) > 1
    assert len({round(x, 6) for x in places}) == len(places)


def test_the_figure_is_the_same_each_time(recorded, tmp_path):
    for name in ("a.svg", "b.svg"):
        figure.draw(copy.deepcopy(recorded), tmp_path / name)
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_without_matplotlib_the_cure_is_named(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=re.escape(install_command("plot"))):
        figure.draw(recorded, tmp_path / "f.svg")
    assert not (tmp_path / "f.svg").exists()


def test_the_page_of_a_record_is_in_the_language_that_is_set(recorded):
    tables = report.BenchmarkTables(recorded)
    in_english, plain = str(tables), copy.deepcopy(tables.to_dict())
    language.choose("pt")
    try:
        page = str(tables)
        assert tables.to_dict() == plain
    finally:
        language.choose(None)
    assert english(page, frozenset({"as", "it", "is", "not", "installed"})) == []
    assert "## Partida a frio" in page
    assert "| contender | ms/step |" in in_english
    assert "| concorrente | ms/passo |" in page
    assert len(page.splitlines()) == len(in_english.splitlines())


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_dots_stand_out_from_light_and_dark_grounds():
    dark = luminance(DARK["#ffffff"])
    for colour in (*figure.OWN, *figure.OTHERS):
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour  # WCAG's least contrast of graphics
        assert (luminance(DARK[colour]) + 0.05) / (dark + 0.05) >= 3, colour


def test_contenders_differ_in_more_than_colour(recorded):
    others = [
        style
        for name, style in figure._styles(recorded).items()
        if not recorded["contenders"][name]["title"].startswith("bpengine")
    ]
    assert len({style["marker"] for style in others}) == len(others)
