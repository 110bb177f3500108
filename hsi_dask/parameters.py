"""Parameters that a specification declares, and their values, checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hsi_dask.errors import ConfigError


@dataclass(frozen=True)
class Parameter:
    """An option of a method or an extractor: its type, and the sentences that errors and commented YAML quote."""

    name: str
    type: Any
    default: Any
    allowed: str
    description: str


def filled(parameters: Iterable[Parameter], values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Values of all these parameters by name, checked; those that are not given take their defaults."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ConfigError(f"{what} has no parameter {name!r}; {hint}")
    return {
        name: checked(parameter, values[name], f"{what}.{name}") if name in values else parameter.default
        for name, parameter in known.items()
    }


def checked(parameter: Parameter, value: Any, what: str) -> Any:
    """The value as the parameter's type; ConfigError that quotes what is allowed."""
    try:
        return TypeAdapter(parameter.type).validate_python(value)
    except ValidationError:
        raise ConfigError(f"{what} is {value!r}; it must be {parameter.allowed} ({parameter.description})") from None
