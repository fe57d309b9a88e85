"""Descriptions: networks as plain dicts and back. Only known classes are built; nothing in a file is ever executed."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpengine.errors import ModelFileError, nearest
from bpengine.io.own import Own
from bpengine.io.settings import settings_of
from bpengine.layers import LAYERS, Activation, CustomActivation, initializers
from bpengine.losses import CustomLoss, Loss
from bpengine.network import Network
from bpengine.penalties import L1, L2

_INITIALIZERS = {type(i).__name__: type(i) for i in initializers.INITIALIZERS.values()} | {
    "Explicit": initializers.Explicit
}
_KNOWN: dict[str, type[Any]] = {**LAYERS, **_INITIALIZERS, "Loss": Loss, "L1": L1, "L2": L2, "Network": Network}

NOTHING = Own()


def describe(value: Any) -> Any:
    """Return a network, layer, loss, penalty or initialiser as dicts, lists, strings and numbers.

    Raises ModelFileError for a setting of a layer of one's own from which `build` could not make the same layer again.
    """
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, CustomLoss):
        settings = {"reduction": value.reduction, "link": value.link, "target": value.target}
        return {"type": "CustomLoss", "name": value.name, **settings}
    if isinstance(value, CustomActivation):
        return {"type": "CustomActivation", "name": value.name}
    if isinstance(value, (Activation, Loss)):
        extra = {"reduction": value.reduction} if isinstance(value, Loss) else {}
        options = {name: describe(option) for name, option in value.options.items()}
        return {"type": type(value).__name__, "name": value.name, **extra, **options}
    if isinstance(value, initializers.Explicit):
        return {"type": "Explicit"}
    if hasattr(value, "__dataclass_fields__"):
        return {"type": type(value).__name__, **{name: describe(part) for name, part in settings_of(value).items()}}
    return value.item() if isinstance(value, np.generic) else value


def build(description: Any, own: Own = NOTHING) -> Any:
    """Return what `describe` described; `own` gives what is not the engine's.

    Raises ModelFileError for what is not known, ConfigError for settings that its class refuses.
    """
    if isinstance(description, list):
        return [build(item, own) for item in description]
    if not isinstance(description, dict):
        return description
    known = {**_KNOWN, **own.layers}
    settings = {name: build(value, own) for name, value in description.items() if name != "type"}
    kind = description.get("type")
    if kind == "CustomLoss":
        return own.loss(settings)
    if kind == "CustomActivation":
        return own.activation(settings)
    if not isinstance(kind, str) or kind not in known:
        raise ModelFileError(
            f"the file uses the layer {kind!r}, which is not known here. {nearest(kind, known)} Pass layers={{{kind!r}: ...}}."
        )
    try:
        return known[kind](**settings)
    except TypeError as error:
        raise ModelFileError(f"the file describes {kind} with settings it does not have: {error}.") from None


def difference(wanted: Any, found: Any, where: str = "network") -> str | None:
    """Name the first place where two descriptions differ ("network.layers[1].units: 10 here, 12 in the file"), or None.

    Initialisers are left out: they do not matter once there are parameters.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in [*wanted, *(n for n in found if n not in wanted)]:
            if not name.endswith("_init") and (d := difference(wanted.get(name), found.get(name), f"{where}.{name}")):
                return d
        return None
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return f"{where}: {len(wanted)} entries here, {len(found)} in the file"
        return next(
            (d for i, pair in enumerate(zip(wanted, found, strict=True)) if (d := difference(*pair, f"{where}[{i}]"))),
            None,
        )
    return None if wanted == found else f"{where}: {wanted!r} here, {found!r} in the file"
