"""Options of methods: the values of their parameters, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsi_dask.errors import ConfigError
from hsi_dask.methods.specification import Method
from hsi_dask.parameters import filled


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
