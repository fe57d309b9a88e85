"""Groups of options: a command takes a dataclass, and the command line has an option for each of its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with the fields of each parameter that is a dataclass in place of that parameter."""
    hints = get_type_hints(command, include_extras=True)
    own: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            own.append(parameter.replace(annotation=kind))
            continue
        groups[parameter.name] = kind
        types = get_type_hints(kind, include_extras=True)
        own += [
            inspect.Parameter(f.name, parameter.kind, default=f.default, annotation=types[f.name]) for f in fields(kind)
        ]

    def run(**values: Any) -> object:
        grouped_values = {n: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for n, kind in groups.items()}
        return command(**values, **grouped_values)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    vars(run)["__signature__"] = inspect.Signature(own)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in own}
    return run
