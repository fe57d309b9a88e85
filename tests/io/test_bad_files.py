"""Files that cannot be loaded: each is a ModelFileError that names the file, and changes nothing."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import bpengine as bp

NETWORK = bp.Network(
    2,
    [bp.Dense(3, bp.Activation("elu", alpha=0.5)), bp.Residual([bp.BatchNorm()]), bp.Dense(1, bias="column")],
    bp.Loss("huber", delta=0.5),
    bp.L2(0.5),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    bp.Model(NETWORK, seed=1).save(path)
    return path


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file and what follows it."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path: Path, header: dict[str, Any], arrays: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + arrays)


def change(path: Path, part: str, edit: Callable[[Any], Any]) -> None:
    """Rewrite a file with its "network" or its "settings" edited; everything else stays intact."""
    header, arrays = split(path)
    described = json.loads(header["__metadata__"][part])
    replaced = edit(described)
    header["__metadata__"][part] = json.dumps(described if replaced is None else replaced)
    join(path, header, arrays)


def assert_refused(path: Path, *texts: str) -> None:
    """Check that `load` and `load_parameters` refuse the file by name, and that the model stays as it was."""
    model = bp.Model(NETWORK, seed=9)
    before = model.parameters, model.running
    for load in (bp.load, model.load_parameters):
        with pytest.raises(bp.ModelFileError) as caught:
            load(path)
        assert path.name in str(caught.value), caught.value
        for text in texts:
            assert text in str(caught.value)
    for old, new in zip(before, (model.parameters, model.running), strict=True):
        for name, value in old.items():
            np.testing.assert_array_equal(value, new[name])


def assert_not_loaded(path: Path, *texts: str) -> None:
    with pytest.raises(bp.ModelFileError) as caught:
        bp.load(path)
    assert path.name in str(caught.value), caught.value
    for text in texts:
        assert text in str(caught.value)


def test_the_intact_file_loads(path: Path) -> None:
    bp.load(path)
    join(path, *split(path))
    assert bp.load(path).network == NETWORK


def test_missing_model_file_is_reported(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing", "there is no model file")


def test_folder_is_refused_as_a_model_file(tmp_path: Path) -> None:
    assert_refused(tmp_path)


def test_empty_file_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    assert_refused(path, "corrupt or truncated", "Save the model again")


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_random_bytes_are_refused(path: Path, size: int, rng: np.random.Generator) -> None:
    path.write_bytes(rng.bytes(size))
    assert_refused(path, "corrupt or truncated")


def test_truncated_file_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for length in [*range(0, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:length])
        assert_not_loaded(path, "corrupt or truncated")


def test_trailing_bytes_are_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    assert_refused(path, "corrupt or truncated")


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80])
def test_any_flipped_byte_of_the_header_is_refused_or_harmless(path: Path, mask: int) -> None:
    """Whatever the damage makes of the header, no other error comes out; it may still read as another valid model."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    failures = []
    for position in range(8 + length):
        broken = bytearray(content)
        broken[position] ^= mask
        path.write_bytes(bytes(broken))
        try:
            bp.load(path)
        except bp.ModelFileError as error:
            if path.name not in str(error):
                failures.append(f"byte {position}: does not name the file: {error}")
        except Exception as error:
            failures.append(f"byte {position}: {type(error).__name__}: {error}")
    assert not failures, "\n".join([f"{len(failures)} failures", *failures[:10]])


def test_safetensors_file_of_another_program_is_refused(path: Path) -> None:
    save_file({"embedding": np.ones((2, 2), np.float32)}, path)
    assert_refused(path, "is not a file of the format 'bpengine model 1', got None")
    save_file({"embedding": np.ones((2, 2), np.float32)}, path, metadata={"format": "pt"})
    assert_refused(path, "got 'pt'")


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("U8", 1)])
def test_foreign_file_with_an_unknown_dtype_is_refused(path: Path, dtype: str, size: int) -> None:
    join(path, {"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}, bytes(size))
    assert_refused(path)


def test_later_format_is_refused(path: Path) -> None:
    header, arrays = split(path)
    header["__metadata__"]["format"] = "bpengine model 2"
    join(path, header, arrays)
    assert_refused(path, "is not a file of the format 'bpengine model 1', got 'bpengine model 2'")


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("protocol", [0, 5])
def test_a_pickle_is_refused_and_not_run(path: Path, tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "was run"
    path.write_bytes(pickle.dumps(Payload(mark), protocol))
    assert_refused(path, "corrupt or truncated")
    with path.open("wb") as file:
        np.savez(file, a=np.array([Payload(mark)], dtype=object))
    assert_refused(path, "corrupt or truncated")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()  # the payload does work


@pytest.mark.parametrize("part", ["network", "settings"])
@pytest.mark.parametrize("text", [None, "", "{", "not json", "[" * 100_000])
def test_damaged_json_is_refused(path: Path, part: str, text: str | None) -> None:
    header, arrays = split(path)
    if text is None:
        del header["__metadata__"][part]
    else:
        header["__metadata__"][part] = text
    join(path, header, arrays)
    assert_refused(path, "header")


@pytest.mark.parametrize("network", [None, 5, "Network", [], {}, {"type": "Dense", "units": 2}, {"type": ["Network"]}])
def test_description_of_another_thing_is_refused(path: Path, network: Any) -> None:
    header, arrays = split(path)
    header["__metadata__"]["network"] = json.dumps(network)
    join(path, header, arrays)
    assert_refused(path)


def test_unknown_layer_is_named(path: Path) -> None:
    change(path, "network", lambda n: n["layers"][0].update(type="Convolution"))
    assert_not_loaded(
        path,
        "uses the layer 'Convolution', which is not known here",
        "layers={'Convolution': ...}",
        "the command line has",
    )


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"layers": 3}, r"load requires layers as a dict by name: layers=\{'Name': ...\}, got 3"),
        ({"layers": [bp.Dense]}, "load requires layers as a dict by name"),
        ({"layers": {"Mine": bp.Dense(3)}}, r"layers=\{'Mine': ...\} to be a class of layers, got Dense"),
        ({"losses": "mine"}, "load requires losses as a dict by name"),
        ({"activations": {3: None}}, "load requires activations as a dict by name"),
    ],
)
def test_own_code_must_be_given_by_name(path: Path, own: Any, words: str) -> None:
    with pytest.raises(bp.ConfigError, match=words):
        bp.load(path, **own)


@pytest.mark.parametrize(
    "edit",
    [
        lambda n: n["layers"][0].update(colour="red"),
        lambda n: n["layers"][0].pop("units"),
        lambda n: n["layers"][0].update(units=0),
        lambda n: n["layers"][0].update(units="many"),
        lambda n: n["layers"][0]["activation"].update(name="rellu"),
        lambda n: n["layers"][0]["activation"].update(slope=1.0),
        lambda n: n["layers"][0].update(weight_init={"type": "Magic"}),
        lambda n: n["layers"][1].update(layers=[{"type": "LayerNorm", "eps": "x"}]),
        lambda n: n["layers"][1].update(layers=[{"type": "Dense", "units": 7}]),
        lambda n: n["loss"].update(name="hugger"),
        lambda n: n["loss"].update(reduction="median"),
        lambda n: n.update(layers=[]),
        lambda n: n.update(layers=3),
        lambda n: n.update(inputs=-1),
        lambda n: n.update(loss={"type": "Loss", "name": "binary_cross_entropy", "reduction": "mean"}),
        lambda n: n["penalties"][0].update(strength=-1),
    ],
)
def test_settings_that_a_layer_refuses_are_refused(path: Path, edit: Any) -> None:
    change(path, "network", edit)
    assert_not_loaded(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.pop("dtype"),
        lambda s: s.pop("seed"),
        lambda s: s.pop("fits"),
        lambda s: s.update(dtype="float16"),
        lambda s: s.update(dtype="tf32"),
        lambda s: s.update(dtype=None),
        lambda s: s.update(seed=-1),
        lambda s: s.update(seed="one"),
        lambda s: s.update(fits=1.5),
        lambda s: [s],
        lambda s: 5,
    ],
)
def test_missing_or_invalid_settings_are_refused(path: Path, edit: Any) -> None:
    change(path, "settings", edit)
    assert_not_loaded(path)


def without(path: Path, name: str, **extra: Any) -> None:
    """Rewrite a file without one array, or with others in addition."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata, names = file.metadata(), file.keys()
        arrays = {n: file.get_tensor(n) for n in names}
    arrays.pop(name, None)
    save_file({**arrays, **extra}, path, metadata=metadata)


@pytest.mark.parametrize("name", ["params/0.weight", "params/1.0.gamma", "running/1.0.mean"])
def test_missing_array_is_named(path: Path, name: str) -> None:
    without(path, name)
    kind = "parameter" if name.startswith("params") else "running statistic"
    assert_refused(path, f"{kind} {name.split('/')[1]!r}", "None in the file")


@pytest.mark.parametrize("name", ["params/0.weight", "params/2.weight", "running/1.0.variance"])
def test_array_of_another_shape_is_named(path: Path, name: str) -> None:
    without(path, name, **{name: np.ones((5, 4), np.float32)})
    assert_refused(path, f"{name.split('/')[1]!r} has the shape", "(5, 4) in the file")


def test_surplus_array_is_named(path: Path) -> None:
    without(path, "", **{"params/7.weight": np.ones(2, np.float32)})
    assert_refused(path, "parameter '7.weight' has the shape None in the network and (2,) in the file")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (bp.Network(2, [bp.Dense(3), *NETWORK.layers[1:]], NETWORK.loss, NETWORK.penalties), "layers[0].activation"),
        (bp.Network(2, [*NETWORK.layers[:2], bp.Dense(2)], NETWORK.loss, NETWORK.penalties), "layers[2].units: 1"),
        (bp.Network(2, NETWORK.layers[:2], NETWORK.loss, NETWORK.penalties), "layers: 3 entries here, 2 in the file"),
        (bp.Network(3, NETWORK.layers, NETWORK.loss, NETWORK.penalties), "network.inputs: 2 here, 3 in the file"),
        (bp.Network(2, NETWORK.layers, "huber", NETWORK.penalties), "network.loss.delta: 0.5 here, None in the file"),
        (bp.Network(2, NETWORK.layers, NETWORK.loss), "network.penalties: 1 entries here, 0 in the file"),
        (
            bp.Network(
                2, [NETWORK.layers[0], bp.Residual([bp.LayerNorm()]), NETWORK.layers[2]], NETWORK.loss, bp.L2(0.5)
            ),
            "layers[1].layers[0].type: 'BatchNorm' here, 'LayerNorm' in the file",
        ),
    ],
)
def test_parameters_of_another_network_are_refused(path: Path, other: bp.Network, named: str) -> None:
    bp.Model(other).save(path)
    model = bp.Model(NETWORK, seed=9)
    before = model.parameters
    with pytest.raises(bp.ModelFileError, match="is of another network") as caught:
        model.load_parameters(path)
    assert named in str(caught.value)
    assert path.name in str(caught.value)
    for name, value in before.items():
        np.testing.assert_array_equal(model.parameters[name], value)


def test_parameters_of_a_network_with_other_initialisers_are_loaded(path: Path) -> None:
    layers = [bp.Dense(3, bp.Activation("elu", alpha=0.5), weight_init="zeros"), *NETWORK.layers[1:]]
    model = bp.Model(bp.Network(2, layers, NETWORK.loss, NETWORK.penalties))
    model.load_parameters(path)
    np.testing.assert_array_equal(model.parameters["0.weight"], bp.load(path).parameters["0.weight"])


def test_unavailable_backend_is_reported_as_such(path: Path) -> None:
    with pytest.raises(bp.ConfigError, match="unknown backend 'nunpy'"):
        bp.load(path, "nunpy")
