"""Class maps by other thresholds than the run's: made from its stored scores, with coarser levels and counts.

Each is a Zarr folder that says what it was made of; those that are kept in a run have a folder `classes` there.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.errors import ConfigError, RunError
from hsi_dask.io import endmember_store, map_arrays
from hsi_dask.io import levels as levels_store
from hsi_dask.io.documents import Text, as_typed
from hsi_dask.io.durable import whole_folder
from hsi_dask.io.levels import level_grids, stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.overviews.coarsening import WINDOW, coarsen, steps_between
from hsi_dask.overviews.jobs import Stages
from hsi_dask.overviews.statistics import Cell, Plane, Statistics, damage_named, measured, place
from hsi_dask.schema import ENDMEMBER, NO_CLASS, UNCLASSIFIED, Variable

logger = logging.getLogger(__name__)

CLASSES = "classes"  # the folder in a run directory
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

Thresholds = tuple[float | None, ...]  # one for each plane of the scores; None excludes nothing
_TOLD: Mapping[str, Any] = {"like": Text, "thresholds": Thresholds}  # what a class map was made of


@dataclass(frozen=True)
class Reclassified:
    """A class map by other thresholds.

    Attributes
    ----------
    variable : its specification
    like : the map of the run that it is as, but for the thresholds
    path : its Zarr folder
    """

    variable: Variable
    like: str
    thresholds: Thresholds
    path: Path

    @cached_property
    def statistics(self) -> tuple[Statistics, ...]:
        """How many pixels have each class."""
        return as_typed(levels_store.level_attrs(self.path).get("statistics"), tuple[Statistics, ...], self.path)

    def is_there(self, identity: str, grids: Mapping[int, Grid]) -> bool:
        """Whether it is of these tiles, and whole; what is damaged is made anew."""
        if levels_store.level_attrs(self.path).get("records") != identity:
            return False
        try:
            levels_store.require_class_levels(self.path, grids, self.variable)
            return len(self.statistics) == 1
        except RunError as error:
            logger.info("the classes are made anew: %s", error)
            return False

    def source(self, factor: int) -> tuple[Path, str]:
        """Zarr folder and name of the array at a level."""
        return self.path, f"{factor}/{self.variable.name}"


def reclassified(run: Run, like: str, name: str, thresholds: Thresholds, path: Path) -> Reclassified:
    """What `reclassify` makes in a folder, checked.

    Raises
    ------
    ConfigError
        `like` is no class map of the run's scores, a map cannot have this name, or thresholds are too many or too few.
    """
    maps = {variable.name: variable for variable in run.manifest.variables}
    classes = maps.get(like)
    if classes is None or classes.role != "class" or classes.of not in maps:
        known = ", ".join(variable.name for variable in maps.values() if variable.role == "class") or "none"
        raise ConfigError(f"{like} is no class map of {run.path}; there are {known}")
    if not _WORD.fullmatch(name):
        raise ConfigError(f"a class map cannot be called {name!r}; use up to 64 letters, digits and _, no digit first")
    if name in maps and name != like:
        raise ConfigError(f"{run.path} has a map {name} already; choose another name")
    planes = map_arrays.endmember_planes(endmember_store.read_endmembers(run.endmembers))[
        maps[str(classes.of)].dims[0]
    ].size
    if len(thresholds) != planes:
        raise ConfigError(f"{name} has {len(thresholds)} thresholds, but {classes.of} has {planes} planes")
    return Reclassified(replace(classes, name=name), like, thresholds, path)


def reclassify(
    run: Run, classes: Reclassified, identity: str, cells: Collection[Cell], advanced: Advanced = lambda share: None
) -> None:
    """Make a class map in its folder, replacing what is there; `identity` is of the tiles that it is of."""
    scores = next(v for v in run.manifest.variables if v.name == classes.variable.of)
    grids, endmembers = level_grids(run.manifest.grid), endmember_store.read_endmembers(run.endmembers)
    dim, name = scores.dims[0], classes.variable.name
    planes = map_arrays.endmember_planes(endmembers)[dim].tolist()
    values = planes if dim == ENDMEMBER else list(range(1, len(planes) + 1))
    attrs = {"records": identity, "like": classes.like, "thresholds": list(classes.thresholds)}
    advanced(0.0)
    with whole_folder(classes.path) as part, ThreadPoolExecutor(os.cpu_count()) as pool:
        levels_store.create_map_levels(part, grids, [classes.variable], endmembers, attrs)
        steps = list(steps_between(part, "1/", part, grids, set(cells)))
        stages = Stages(pool, len(planes) * len(cells) + WINDOW * sum(len(s.windows()) for s in steps), advanced)
        source, target = stored_array(run.results, scores.name), stored_array(part, f"1/{name}", "r+")

        def one(cell: Cell) -> Statistics:
            window = place(grids[1], cell)
            with damage_named(scores.name, window, run.results):
                found = _best((source[(n, *window)] for n in range(len(planes))), classes.thresholds, scores, values)
            target[window] = found
            return measured(found, classes.variable)

        counts = sum(stages.map(one, sorted(cells), len(planes)), Statistics())
        levels_store.note(part, statistics=[asdict(counts) if counts.count else {}])
        for step in steps:
            coarsen(step, [Plane(classes.variable, ())], stages)


def _best(
    planes: Iterable[NDArray[Any]], thresholds: Thresholds, scores: Variable, numbers: Sequence[int]
) -> NDArray[np.uint8]:
    """As `ops.classes.threshold_classes`, a plane at a time: 254 scores of a tile would be 1 GB."""
    sign = 1 if scores.better == "low" else -1
    best: Any = np.inf
    classes: Any = np.uint8(UNCLASSIFIED)
    missing: Any = False
    for number, limit, plane in zip(numbers, thresholds, planes, strict=True):
        value = sign * plane
        better = (value < best) & (value <= (np.inf if limit is None else sign * limit))
        best, classes = np.where(better, value, best), np.where(better, np.uint8(number), classes)
        missing = missing | np.isnan(value)
    return np.where(missing, np.uint8(NO_CLASS), classes)


def kept_classes(run: Run) -> list[Reclassified]:
    """The class maps that are kept in a run, of whichever tiles; whatever else is there is left alone."""
    folder = run.path / CLASSES
    paths = sorted(folder.glob("*.zarr")) if folder.is_dir() and not folder.is_symlink() else []
    return [found for path in paths if not path.is_symlink() and (found := _opened(run, path))]


def _opened(run: Run, path: Path) -> Reclassified | None:
    attrs = levels_store.level_attrs(path)
    try:
        like, thresholds = (as_typed(attrs.get(name), kind, path) for name, kind in _TOLD.items())
        return reclassified(run, like, path.stem, thresholds, path)
    except (ConfigError, RunError) as error:
        logger.info("%s is no class map: %s", path, error)
        return None
