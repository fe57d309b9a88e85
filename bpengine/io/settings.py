"""Settings: the constructor arguments of a custom class, as far as a model file can hold them."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from bpengine.errors import ModelFileError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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
