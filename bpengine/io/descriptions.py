"""Descriptions: networks as plain dicts and back. Only known classes are built; nothing in a file is ever executed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from bpengine.errors import ModelFileError, nearest
from bpengine.io.own import Own
from bpengine.layers import LAYERS, Activation, CustomActivation, Dense, Layer, Residual, contract, initializers
from bpengine.layers.chain import extent
from bpengine.layers.sharing import walk
from bpengine.losses import CustomLoss, Loss
from bpengine.network import Network
from bpengine.output.json_values import JsonValue
from bpengine.penalties import L1, L2

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Built: TypeAlias = Any  # a network, a layer, a loss, a penalty, an initialiser, or one of their settings
_INITIALIZERS = {type(i).__name__: type(i) for i in initializers.INITIALIZERS.values()} | {
    "Explicit": initializers.Explicit
}
_KNOWN: dict[str, type[Any]] = {**LAYERS, **_INITIALIZERS, "Loss": Loss, "L1": L1, "L2": L2, "Network": Network}

NOTHING = Own()
MOST_PLACES = 4096  # the most layers of a file's network; a shared layer counts at each of its places
MOST_PARTS = 16 * MOST_PLACES  # a layer has an activation and initialisers
SMALL = 4096  # most inputs for which a layer makes its arrays to learn their shapes
QUOTES = "'\""
TUPLE = "Tuple"


def describe(value: object) -> JsonValue:
    """Return a network, layer, loss, penalty or initialiser as dicts, lists, strings and numbers.

    A layer that occurs in the network a second time is {"type": "Shared", "place": ...}, and a tie is the place of the layer
    tied to.
    Raises ModelFileError for a setting of a custom layer from which `build` could not make the same layer again.
    """
    if isinstance(value, Network):
        check_places(value.layers)
    return _described(value, "", {})


def _described(value: object, place: str, met: dict[int, str]) -> JsonValue:
    if isinstance(value, (list, tuple)):
        return [_described(item, place, met) for item in value]
    if isinstance(value, CustomLoss):
        settings = {"reduction": value.reduction, "link": value.link, "target": value.target}
        return {"type": "CustomLoss", "name": value.name, **settings}
    if isinstance(value, CustomActivation):
        return {"type": "CustomActivation", "name": value.name}
    if isinstance(value, (Activation, Loss)):
        extra = {"reduction": value.reduction} if isinstance(value, Loss) else {}
        options = {name: _described(option, place, met) for name, option in value.options.items()}
        return {"type": type(value).__name__, "name": value.name, **extra, **options}
    if isinstance(value, initializers.Explicit):
        return {"type": "Explicit"}
    if hasattr(value, "__dataclass_fields__"):
        return _dataclass_described(cast("DataclassInstance", value), place, met)
    return value.item() if isinstance(value, np.generic) else value


def _dataclass_described(value: DataclassInstance, place: str, met: dict[int, str]) -> dict[str, Any]:
    """Return the type and the settings of a network, a layer or another dataclass; a shared layer by its first place."""
    description: dict[str, Any] = {"type": type(value).__name__}
    for name, part in settings_of(value).items():
        if name == "layers" and isinstance(value, (Network, Residual)):
            description[name] = [_placed(layer, f"{place}{i}", met) for i, layer in enumerate(value.layers)]
        elif name == "activation" and isinstance(value, Dense) and not isinstance(part, Activation):
            description[name] = _placed(part, f"{place}activation", met)
        elif name == "tie" and isinstance(value, Dense):
            description |= {} if value.tie is None else {"tie": met[id(value.tie)]}
        elif not _left_out(value, name):
            own = type(value).__name__ not in _KNOWN
            description[name] = _of_own(part, place, met) if own else _described(part, place, met)
    return description


def _of_own(value: object, place: str, met: dict[int, str]) -> JsonValue:
    """Return a setting of a custom class; tuples and lists stay distinct, since the class may require either."""
    if isinstance(value, (list, tuple)):
        items = [_of_own(item, place, met) for item in value]
        return {"type": TUPLE, "items": items} if isinstance(value, tuple) else items
    return _described(value, place, met)


def _left_out(value: object, name: str) -> bool:
    """Tell whether a field is left out: what a network shares, and the initialiser of a weight that is another layer's."""
    if isinstance(value, Network):
        return name == "shared"
    return isinstance(value, Dense) and value.tie is not None and name == "weight_init"


def _placed(layer: Layer, place: str, met: dict[int, str]) -> JsonValue:
    """Return the description of the layer at a place of a network."""
    if id(layer) in met:
        return {"type": "Shared", "place": met[id(layer)]}
    met[id(layer)] = place
    return _described(layer, f"{place}.", met)


def build(description: object, own: Own = NOTHING, values: int | None = None) -> Built:
    """Build what `describe` described; `own` holds custom code by name.

    values: how many numbers the file holds for its parameters, where the file is of unknown origin.
    Raises ModelFileError for what is not known, for more layers than are read, and for sizes that the numbers cannot fill;
    ConfigError for settings that its class refuses.
    """
    return _Builder(own, values).value(description, "")


class _Builder:
    """Builds one description; `placed` are the layers built so far by place, which others share or are tied to."""

    def __init__(self, own: Own, values: int | None) -> None:
        self.own, self.values, self.placed = own, values, dict[str, Any]()
        self.counted: dict[
            int, tuple[Any, int]
        ] = {}  # what was built, and its number of parts, where a shared part counts each time

    def value(self, description: object, place: str) -> Built:
        if isinstance(description, list):
            return [self.value(item, place) for item in description]
        if not isinstance(description, dict):
            return description
        kind, known = description.get("type"), {**_KNOWN, **self.own.layers}
        settings = {
            name: self._setting(kind, name, value, place) for name, value in description.items() if name != "type"
        }
        special: dict[str, Callable[[dict[str, Any]], Any]] = {
            "Shared": lambda settings: self._at(settings.get("place")),
            TUPLE: self._tuple,
            "CustomLoss": self.own.loss,
            "CustomActivation": self.own.activation,
        }
        if isinstance(kind, str) and kind in special:
            return special[kind](settings)
        if not isinstance(kind, str) or kind not in known:
            shown = repr(kind)[:60]
            raise ModelFileError(
                f"the file uses the layer {shown}, which is not known here. {nearest(shown.strip(QUOTES), known)} "
                f"In Python, pass layers={{{shown}: ...}}; the command line has bpengine's own layers only."
            )
        if kind == "Network":
            check_places(settings.get("layers"))
            self._check_sizes(settings)
        parts = 1 + self._parts(list(settings.values()))
        # parts may be shared many times: a short text could describe more parts than can be visited
        if parts > MOST_PARTS:
            raise ModelFileError(
                f"a model file describes at most {MOST_PARTS:,} parts, got {str(parts)[:30]} in {kind}."
            )
        try:
            built = known[kind](**settings)
            self.counted[id(built)] = built, parts
            return built
        except TypeError as error:
            raise ModelFileError(f"the file describes {kind} with settings it does not have: {error}.") from None

    def _tuple(self, settings: dict[str, Any]) -> tuple[Any, ...]:
        items = settings.get("items")
        if list(settings) != ["items"] or not isinstance(items, list):
            raise ModelFileError(f"a model file describes a {TUPLE} by its items, a list, got {repr(settings)[:60]}.")
        return tuple(items)

    def _parts(self, value: object) -> int:
        if isinstance(value, (list, tuple)):
            return sum(map(self._parts, value))
        return self.counted.get(id(value), (None, 0))[1]

    def _setting(self, kind: object, name: str, value: object, place: str) -> Built:
        if kind == "Dense" and name == "tie":
            return self._at(value)
        if kind == "Dense" and name == "activation":
            self.placed[f"{place}activation"] = self.value(value, f"{place}activation.")
            return self.placed[f"{place}activation"]
        if kind not in ("Network", "Residual") or name != "layers" or not isinstance(value, list):
            return self.value(value, place)
        layers = []
        for i, layer in enumerate(value):
            self.placed[f"{place}{i}"] = self.value(layer, f"{place}{i}.")
            layers.append(self.placed[f"{place}{i}"])
        return layers

    def _check_sizes(self, settings: dict[str, Any]) -> None:
        """Refuse a custom layer whose arrays would be larger than the arrays of the file."""
        layers, inputs = settings.get("layers"), settings.get("inputs")
        if self.values is None or not isinstance(layers, list) or not isinstance(inputs, int):
            return
        met: dict[int, int] = {}
        for place, layer, size in walk(layers, inputs, "", met):
            met[id(layer)] = size
            if (
                type(layer) not in contract.PROVEN
                and not contract.says_shapes(layer)
                and size > max(self.values, SMALL)
            ):
                raise ModelFileError(
                    f"layer {place} ({type(layer).__name__}) is given {str(size)[:30]} inputs, and the file has "
                    f"{self.values} numbers. If that is right, give the class a method shapes(inputs)."
                )

    def _at(self, place: object) -> Built:
        if not isinstance(place, str) or place not in self.placed:
            shown = repr(place)[:60]
            raise ModelFileError(
                f"the file describes a layer that shares those of place {shown}, where there is none yet."
            )
        return self.placed[place]


def check_places(layers: object) -> None:
    """Raise ModelFileError for a network of more layers than are read from a file."""
    if not isinstance(layers, (list, tuple)):
        return
    places = sum(extent(layer).places for layer in layers)
    if places > MOST_PLACES:
        raise ModelFileError(
            f"a model file holds networks of at most {MOST_PLACES:,} layers, got {str(places)[:30]}; a shared layer counts "
            "at each of its places."
        )


def difference(wanted: object, stored: object, where: str = "network") -> str | None:
    """Name the first place where two descriptions differ ("network.layers[1].units: 10 here, 12 in the file"), or None.

    Initialisers are left out: they do not matter once there are parameters.
    """
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for name in [*wanted, *(n for n in stored if n not in wanted)]:
            if not name.endswith("_init") and (d := difference(wanted.get(name), stored.get(name), f"{where}.{name}")):
                return d
        return None
    if isinstance(wanted, list) and isinstance(stored, list):
        if len(wanted) != len(stored):
            return f"{where}: {len(wanted)} entries here, {len(stored)} in the file"
        return next(
            (d for i, pair in enumerate(zip(wanted, stored, strict=True)) if (d := difference(*pair, f"{where}[{i}]"))),
            None,
        )
    return None if wanted == stored else f"{where}: {wanted!r} here, {stored!r} in the file"


def settings_of(value: DataclassInstance) -> dict[str, Any]:
    """Return the constructor arguments of a dataclass, by name.

    Raises ModelFileError where an equal object could not be made from a file: for settings that are not fields, and for
    fields whose values a file cannot hold.
    """
    who, names = type(value).__name__, [f.name for f in fields(value) if f.init]
    for name, parameter in inspect.signature(type(value)).parameters.items():
        if name not in names and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ModelFileError(
                f"a model file requires the settings of {who} as fields of a frozen dataclass, got {name!r} in its __init__. "
                f"Write @dataclass(frozen=True) above the class, and {name!r} as a field into it."
            )
    for name in names:
        if not _is_held(getattr(value, name)):
            raise ModelFileError(
                f"a model file requires the setting {name!r} of {who} to be a number, text, None, a layer, or a list of such, "
                f"got {type(getattr(value, name)).__name__}."
            )
    return {name: getattr(value, name) for name in names}


def _is_held(setting: object) -> bool:
    if isinstance(setting, (list, tuple)):
        return all(map(_is_held, setting))
    plain = setting.item() if isinstance(setting, np.generic) else setting
    return plain is None or isinstance(plain, (bool, int, float, str)) or hasattr(plain, "__dataclass_fields__")
