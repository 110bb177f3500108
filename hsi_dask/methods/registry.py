"""The methods that there are, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hsi_dask.errors import ConfigError
from hsi_dask.methods.specification import Method
from hsi_dask.plugins import Registry
from hsi_dask.schema import Variable

_BUILT_IN = (
    "fcls", "nnls", "ucls", "scls", "sam", "sid", "ncc", "mf", "ace", "glrt", "cem", "osp", "mesma", "cover",
)  # fmt: skip
METHODS = Registry("hsi_dask.methods", Method, (f"hsi_dask.methods.{name}" for name in _BUILT_IN))
DEFAULT = ("fcls", "sam", "sid")  # what a run computes unless it is told otherwise
FOR_LIBRARY = ("cover",)  # and what with a library of spectra


def method(name: str) -> Method:
    """The method of this name.

    Raises
    ------
    ConfigError
        There is none, or its plug-in cannot be loaded.
    """
    return METHODS.get(name)


def names() -> tuple[str, ...]:
    """Every method's name, in the order in which maps are made and shown."""
    return tuple(METHODS.specifications)


def in_order(wanted: Iterable[str]) -> tuple[str, ...]:
    """These methods' names, each once, in the one order that makes configurations comparable.

    Raises
    ------
    ConfigError
        One is unknown, or there are none.
    """
    asked = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    if not asked:
        raise ConfigError(f"methods is empty; name some of {', '.join(names())}")
    for name in asked:
        if name not in METHODS.specifications:
            if name in METHODS.broken:
                raise ConfigError(METHODS.broken[name])
            raise ConfigError(f"methods must be among {', '.join(names())}, not {name!r}")
    return tuple(name for name in names() if name in asked)


def variables(methods: Iterable[str], options: Mapping[str, Mapping[str, Any]]) -> tuple[Variable, ...]:
    """The maps that these methods make with their options, in their order.

    Raises
    ------
    ConfigError
        Two methods make a map of the same name.
    """
    made: dict[str, tuple[str, Variable]] = {}
    for spec in map(method, methods):
        for found in spec.made(spec.defaults() | dict(options.get(spec.name, {}))):
            if found.name in made:
                raise ConfigError(
                    f"methods {made[found.name][0]} and {spec.name} both make a map named {found.name}; "
                    "run them in directories of their own"
                )
            made[found.name] = spec.name, found
    return tuple(variable for _, variable in made.values())


def variable(name: str) -> Variable | None:
    """The specification of a map by its name, as some method declares it; None if none does."""
    found = (v for spec in METHODS.specifications.values() for v in spec.variables)
    return next((v for v in found if v.name == name), None)
