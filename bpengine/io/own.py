"""Custom code: a model file holds its name only, and the caller passes it again when loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bpengine.errors import ConfigError, ModelFileError
from bpengine.kernels._own import is_pair
from bpengine.layers import CustomActivation, Layer
from bpengine.losses import CustomLoss

Made = TypeVar("Made", CustomLoss, CustomActivation)


@dataclass(frozen=True)
class Own:
    """Custom code by name: classes of layers; losses and activations, as objects or as pairs (forward, backward)."""

    layers: Mapping[str, type[Any]] = field(default_factory=dict)
    losses: Mapping[str, Any] = field(default_factory=dict)
    activations: Mapping[str, Any] = field(default_factory=dict)

    def loss(self, settings: Mapping[str, Any]) -> CustomLoss:
        """Return the loss that a file names; raise ModelFileError when it was not passed, or differs from the saved one."""
        return _known_code("loss", "losses", CustomLoss, self.losses, settings)

    def activation(self, settings: Mapping[str, Any]) -> CustomActivation:
        """Return the activation that a file names; raise ModelFileError when it was not passed, or has another name."""
        return _known_code("activation", "activations", CustomActivation, self.activations, settings)


def own_code(layers: Mapping[str, type[Layer]] | None, losses: object, activations: object) -> Own:
    """Return the custom code that a caller passes, or None for none.

    Raises ConfigError for anything but a mapping from names, and for a layer that is no subclass of Layer.
    """
    code: dict[str, Any] = {"layers": layers, "losses": losses, "activations": activations}
    for where, value in code.items():
        if value is not None and not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
            raise ConfigError(f"load requires {where} as a dict by name: {where}={{'Name': ...}}, got {value!r}.")
    for name, kind in (layers or {}).items():
        if not (isinstance(kind, type) and issubclass(kind, Layer)):
            raise ConfigError(f"load requires layers={{{name!r}: ...}} to be a class of layers, got {kind!r}.")
    return Own(**{where: value or {} for where, value in code.items()})


def _known_code(kind: str, where: str, make: type[Made], known: Mapping[str, Any], settings: Mapping[str, Any]) -> Made:
    name = str(settings.get("name"))
    if name not in known:
        raise ModelFileError(f"the file uses the {kind} {name!r}, which is one's own. Pass {where}={{{name!r}: ...}}.")
    code = known[name]
    if is_pair(code):
        return make(*code, **settings)
    if isinstance(code, make):
        for setting, value in settings.items():
            if (got := getattr(code, setting)) != value:
                raise ModelFileError(
                    f"the file's {kind} {name!r} has the {setting} {value!r}, got one with {got!r}. "
                    f"Give the {kind} that was saved."
                )
        return code
    raise ModelFileError(
        f"{where}={{{name!r}: ...}} requires a {make.__name__} or a pair (forward, backward), got {code!r}."
    )
