"""What a run was asked for, as far as pictures tell of it; readable also where a method's plug-in is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hsi_dask.batch.state.manifest import CONFIG
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.io.documents import Count, as_typed, read_text
from hsi_dask.io.zarr_metadata import read_array_metadata
from hsi_dask.methods.registry import METHODS
from hsi_dask.methods.specification import Method
from hsi_dask.schema import Variable
from hsi_dask.yaml_text import load_file

_Threshold: Any = float | tuple[float | None, ...] | None
_Windows: Any = tuple[tuple[float, float], ...] | None


@dataclass(frozen=True)
class Settings:
    """The configuration of a run, read from its file as it was written."""

    run: Run

    @cached_property
    def values(self) -> Mapping[str, Any]:
        return load_file(self.path)

    @property
    def path(self) -> Path:
        return self.run.path / CONFIG

    @property
    def text(self) -> str:
        """The commented YAML."""
        return read_text(self.path)

    @property
    def windows(self) -> list[tuple[float, float]] | None:
        """Water-vapour windows that are left out, nm; None: those that each file declares."""
        windows = as_typed(self._section("bands").get("windows"), _Windows, self.path)
        return None if windows is None else list(windows)

    @property
    def drop_last(self) -> int:
        """Bands left out at the long end."""
        return as_typed(self._section("bands").get("drop_last") or 0, Count, self.path)

    @property
    def masks(self) -> set[str]:
        """Names of the flags that the run can set, beside no data."""
        return {name for name, value in self._section("masks").items() if value not in (None, False)}

    def threshold(self, classes: Variable) -> Any:
        """By which a class map was made, as scores: one number, one for each endmember, or None."""
        if self._section("thresholds").get("relative") is True:
            attrs = read_array_metadata(self.run.results, classes.name).attributes
            return list(as_typed(attrs.get("thresholds", ()), tuple[float, ...], self.run.results)) or None
        found = self.method_of(classes)
        name = found.name if found else classes.name.removesuffix("_class")
        value = as_typed(self._section("thresholds").get(name), _Threshold, self.path)
        return list(value) if isinstance(value, tuple) else value

    def method_of(self, variable: Variable) -> Method | None:
        """The run's method that makes a map; None where it is not installed."""
        names = self.values.get("methods")
        known = (METHODS.specifications.get(str(name)) for name in (names if isinstance(names, list) else ()))
        found = (method for method in known if method and variable.name in {v.name for v in method.variables})
        return next(found, None)

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self.values.get(name)
        return section if isinstance(section, dict) else {}
