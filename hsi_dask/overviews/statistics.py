"""Exact statistics of a run's maps at full resolution, chunk by chunk: sums of parts, so that any order will do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import RunError
from hsi_dask.io.documents import Count, matching
from hsi_dask.io.levels import stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.overviews.jobs import Stages
from hsi_dask.schema import CLASS_DIMS, Variable

BINS = 50  # of the histogram of a fraction, over [0, 1]

Cell = tuple[int, int]  # row and column of a chunk
Value = Annotated[str, matching(r"\d{1,5}", "a whole number as text")]


class Plane(NamedTuple):
    """One plane of a map: the map, and where the plane is in the dimension before y and x, if there is one."""

    variable: Variable
    at: tuple[int, ...]

    @property
    def name(self) -> str:
        """The map's name."""
        return self.variable.name


@dataclass(frozen=True)
class Statistics:
    """Of one plane, over the tiles that are done; pixels without data do not count.

    Attributes
    ----------
    count : pixels with a value
    minimum, maximum, total, squares : of the values
    histogram : of a fraction, counts in equal bins over [0, 1]
    values : of classes and quality, how many pixels have each value but no data; JSON makes the keys text
    """

    count: Count = 0
    minimum: float = float("inf")
    maximum: float = float("-inf")
    total: float = 0.0
    squares: float = 0.0
    histogram: tuple[Count, ...] = ()
    values: Mapping[Value, Count] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else float("nan")

    @property
    def std(self) -> float:
        """Standard deviation."""
        return float(max(self.squares / self.count - self.mean**2, 0.0) ** 0.5) if self.count else float("nan")

    def __add__(self, other: Statistics) -> Statistics:
        pairs = zip(self.histogram, other.histogram, strict=True) if self.histogram and other.histogram else ()
        return Statistics(
            self.count + other.count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.total + other.total,
            self.squares + other.squares,
            tuple(a + b for a, b in pairs) or self.histogram or other.histogram,
            {k: self.values.get(k, 0) + other.values.get(k, 0) for k in {**self.values, **other.values}},
        )


def planes_of(variables: Iterable[Variable], sizes: Mapping[str, int]) -> list[Plane]:
    """Every plane of these maps, with so many planes along each dimension before y and x."""
    return [
        Plane(variable, at)
        for variable in variables
        for at in ([(n,) for n in range(sizes[variable.dims[0]])] if len(variable.dims) > len(CLASS_DIMS) else [()])
    ]


def statistics_of(
    results: Path, grid: Grid, planes: Collection[Plane], cells: Collection[Cell], stages: Stages
) -> dict[str, list[dict[str, Any]]]:
    """Statistics of every plane over these chunks of the store, as JSON can hold them, by the map's name."""
    arrays = {plane.name: stored_array(results, plane.name) for plane in planes}
    jobs = list(product(planes, cells))

    def one(job: tuple[Plane, Cell]) -> Statistics:
        plane, cell = job
        window = place(grid, cell)
        with damage_named(plane.name, window, results):
            values = arrays[plane.name][(*plane.at, *window)]
        return measured(values, plane.variable)

    sums: dict[Plane, Statistics] = dict.fromkeys(planes, Statistics())
    for (plane, _), found in zip(jobs, stages.map(one, jobs), strict=True):
        sums[plane] += found
    named: dict[str, list[dict[str, Any]]] = {plane.name: [] for plane in planes}
    for plane in planes:
        named[plane.name].append(asdict(sums[plane]) if sums[plane].count else {})
    return named


def place(grid: Grid, cell: Cell) -> tuple[slice, slice]:
    """The pixels of a chunk."""
    down, across = (slice(n * size, min((n + 1) * size, most))
                    for n, size, most in zip(cell, grid.chunk, grid.shape, strict=True))  # fmt: skip
    return down, across


@contextmanager
def damage_named(
    name: str, window: tuple[slice, slice], path: Path, way_out: str = "`hsi-dask verify` names the damaged tile"
) -> Iterator[None]:
    """Raise RunError, which says where, for whatever a codec makes of damaged bytes inside."""
    rows, columns = window
    try:
        yield
    except Exception as error:
        raise RunError(
            f"{name} cannot be read at rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop} of "
            f"{path} ({error}); {way_out}"
        ) from error


def measured(values: NDArray[Any], spec: Variable) -> Statistics:
    """Statistics of pixels of a map, as stored."""
    if values.dtype.kind == "i":
        counted = Counter(values[values != spec.fill_value].tolist())
        return _of_codes(counted) if counted else Statistics()
    if values.dtype.kind == "u":
        found = {v: int(n) for v, n in enumerate(np.bincount(values.ravel())) if n and v != spec.fill_value}
        return _of_codes(found) if found else Statistics()
    holes = ~np.isfinite(values)
    good = values[~holes] if holes.any() else values.ravel()
    if not good.size:
        return Statistics()
    histogram: tuple[int, ...] = ()
    if spec.role == "fraction":
        bins = np.clip((good * np.float32(BINS)).astype(np.intp), 0, BINS - 1)
        histogram = tuple(np.bincount(bins, minlength=BINS).tolist())
    total, squares = good.sum(dtype=np.float64), np.einsum("i,i->", good, good, dtype=np.float64)  # without a copy
    return Statistics(good.size, float(good.min()), float(good.max()), float(total), float(squares), histogram)


def _of_codes(counts: Mapping[int, int]) -> Statistics:
    """Statistics of whole numbers that each occur so often."""
    total, squares = (sum(float(v**power * n) for v, n in counts.items()) for power in (1, 2))
    told = {str(v): n for v, n in sorted(counts.items())}
    return Statistics(sum(counts.values()), min(counts), max(counts), total, squares, values=told)
