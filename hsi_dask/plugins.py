"""Specifications by name: those of this package, and those that other packages add through entry points."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import import_module, metadata
from typing import Generic, TypeVar

from hsi_dask.errors import ConfigError

logger = logging.getLogger(__name__)

Spec = TypeVar("Spec")


class Registry(Generic[Spec]):
    """Specifications of one kind by their names, found when they are first asked for.

    Parameters
    ----------
    group : entry-point group, such as "hsi_dask.methods"; an entry names a specification, `package.module:SPEC`
    kind : the class of a specification
    built_in : modules of this package, each with a specification in `SPECIFICATION`

    Notes
    -----
    A plug-in that cannot be loaded is logged and left out; asking for it by name says why.
    """

    def __init__(self, group: str, kind: type[Spec], built_in: Iterable[str]) -> None:
        self.group, self.kind, self.built_in = group, kind, tuple(built_in)
        self.broken: dict[str, str] = {}

    @cached_property
    def specifications(self) -> Mapping[str, Spec]:
        """Every specification that could be loaded: the package's own in their order, then plug-ins by name."""
        found: dict[str, Spec] = {}
        for module in self.built_in:
            found[module.rpartition(".")[2]] = import_module(module).SPECIFICATION
        for entry in sorted(metadata.entry_points(group=self.group), key=lambda entry: entry.name):
            if entry.name in found:
                self._leave_out(entry, "this package has one of that name")
                continue
            try:
                specification = entry.load()
            except Exception as error:  # whatever a stranger's module raises
                self._leave_out(entry, f"{type(error).__name__}: {error}")
                continue
            if isinstance(specification, self.kind) and getattr(specification, "name", None) == entry.name:
                found[entry.name] = specification
            else:
                self._leave_out(entry, f"{entry.value} is no {self.kind.__name__} named {entry.name!r}")
        return found

    def get(self, name: str) -> Spec:
        """The specification of this name; ConfigError with the known names when there is none."""
        if name in self.specifications:
            return self.specifications[name]
        if name in self.broken:
            raise ConfigError(self.broken[name])
        raise ConfigError(f"{name!r} is not known; known are {', '.join(self.specifications)}")

    def _leave_out(self, entry: metadata.EntryPoint, reason: str) -> None:
        package = entry.dist.name if entry.dist else entry.module
        self.broken[entry.name] = (
            f"the plug-in {entry.name!r} of {package} cannot be used ({reason}); update or uninstall {package}"
        )
        logger.warning("%s", self.broken[entry.name])
