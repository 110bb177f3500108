"""Options of methods: the values of their parameters, checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hsi_dask.errors import ConfigError
from hsi_dask.methods.specification import Method, Parameter


def method_options(specs: Sequence[Method], options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By method's name the values of all its parameters, defaults filled in.

    Raises
    ------
    ConfigError
        Options of a method that is not among these, an unknown parameter, or a value it cannot have.
    """
    known = {spec.name: spec for spec in specs}
    for name in options:
        if name not in known and options[name]:
            raise ConfigError(f"there are options for {name}, which is not among the methods {', '.join(known)}")
    return {name: filled(spec.parameters, options.get(name, {}), name) for name, spec in known.items()}


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
