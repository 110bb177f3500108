"""How much ground classes and fractions cover, with intervals where a map has its uncertainty beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.kernels.correlation import correlation_length, std_of_sum
from hsi_dask.schema import FLAGS, GRID_MAPPING, QUALITY, Variable, X, Y, flags_of, no_data_value
from hsi_dask.show.figures import are_metres
from hsi_dask.show.summaries import labels_in, specifications

if TYPE_CHECKING:
    import pandas as pd

_HECTARE = 1e4  # square metres
_WINDOW, _WINDOWS = 256, 3  # pixels along a side of what correlation is looked for in, and how many windows a side
LEVEL = 0.95  # of intervals, unless asked otherwise


class Interval(NamedTuple):
    """Where an area lies, with the probability asked for."""

    low: float
    high: float


def interval_of(area: float, std: float, most: float, level: float = LEVEL) -> Interval:
    """As if errors were normal; within 0 and the area that could be covered at most.

    Examples
    --------
    >>> interval_of(2.0, 1.0, 3.5)
    Interval(low=0.04..., high=3.5)
    """
    half = NormalDist().inv_cdf(0.5 + level / 2) * std
    return Interval(max(area - half, 0.0), min(area + half, most))


def areas(maps: xr.Dataset, polygons: Any = None, level: float = LEVEL) -> pd.DataFrame:
    """Hectares of each class and fraction, as `Pictures.areas` tells."""
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; give a probability between 0 and 1, such as 0.95")
    hectares, specs = pixel_hectares(maps), specifications(maps)
    unsure = {str(spec.of): name for name, spec in specs.items() if spec.role == "uncertainty"}
    lengths = {name: lengths_of(maps[name]) for name in unsure if name in specs and specs[name].role == "fraction"}
    if polygons is None:
        return _table(maps, specs, unsure, lengths, hectares, level)
    import pandas as pd

    parts = {label: _table(part, specs, unsure, lengths, hectares, level) for label, part in _inside(maps, polygons)}
    if not parts:
        raise SchemaError("there is no polygon; give one or more")
    return pd.concat(parts, names=["polygon"])


def windows_of(plane: xr.DataArray) -> list[NDArray[Any]]:
    """Windows of a map (y, x), evenly over it, in memory; the whole map where it is small."""
    starts = [_starts(plane.sizes[dim]) for dim in (Y, X)]
    parts = [plane.isel({Y: slice(i, i + _WINDOW), X: slice(j, j + _WINDOW)}) for i in starts[0] for j in starts[1]]
    return [np.asarray(part) for part in parts]


def _starts(size: int) -> list[int]:
    if size <= _WINDOW:
        return [0]
    return sorted({int(at) for at in np.linspace(0, size - _WINDOW, min(_WINDOWS, -(-size // _WINDOW)))})


def lengths_of(fractions: xr.DataArray) -> list[float]:
    """The correlation length of each plane, pixels."""
    return [correlation_length(windows_of(plane)) for plane in _planes(fractions)]


def _planes(array: xr.DataArray) -> list[xr.DataArray]:
    return list(array.transpose(..., Y, X)) if array.ndim > len((Y, X)) else [array]


def _table(
    maps: xr.Dataset, specs: Mapping[str, Variable], unsure: Mapping[str, str], lengths: Mapping[str, list[float]],
    hectares: float, level: float,
) -> pd.DataFrame:  # fmt: skip
    import pandas as pd

    columns: dict[str, dict[str, float]] = {}
    for name, spec in specs.items():
        if spec.role == "class":
            counts = class_counts(maps[name])
            classes = labels_in(maps, name).classes
            columns[name] = {text: float(counts[value] * hectares) for value, (text, _) in classes.items()}
        elif spec.role == "flag" and name != QUALITY.name:
            flags = maps[name]
            columns[name] = {flag: float((flags & bit != 0).sum()) * hectares for flag, bit in flags_of(spec).items()}
        elif spec.role == "fraction":
            names = labels_in(maps, name).names
            totals = np.atleast_1d(maps[name].sum((Y, X), dtype=np.float64).values) * hectares
            columns[name] = dict(zip(names, totals.tolist(), strict=True))
            if name in lengths:
                found = _intervals(maps[name], maps[unsure[name]], lengths[name], hectares, level)
                for end in Interval._fields:
                    columns[f"{name}_{end}"] = {n: getattr(one, end) for n, one in zip(names, found, strict=True)}
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    apart = {"unclassified"}.union(*(flags_of(spec) for spec in specs.values() if spec.role == "flag"))
    rows.sort(key=lambda row: row in apart)
    return pd.DataFrame(columns, index=pd.Index(rows, name="hectares"))


def _intervals(
    fractions: xr.DataArray, unsure: xr.DataArray, lengths: list[float], hectares: float, level: float
) -> list[Interval]:
    known: xr.DataArray = np.isfinite(fractions)  # type: ignore[assignment]
    summed = {"area": fractions, "total": unsure, "squares": unsure.astype(np.float64) ** 2, "pixels": known}
    sums = xr.Dataset({name: one.sum((Y, X), dtype=np.float64) for name, one in summed.items()})
    sums = sums.compute()  # together: each chunk is read once
    return [
        interval_of(hectares * area, hectares * std_of_sum(total, squares, length), hectares * pixels, level)
        for area, total, squares, pixels, length in zip(*map(np.atleast_1d, sums.values()), lengths, strict=True)
    ]


def _inside(maps: xr.Dataset, polygons: Any) -> Iterator[tuple[Any, xr.Dataset]]:
    """The maps in each polygon, other pixels without data; with its index, or its number from 0."""
    from rasterio.features import geometry_mask
    from rasterio.transform import Affine

    from hsi_dask.show.figures import extent_of

    one = _any_map(maps)
    for label, shape in _shapes(polygons, one):
        across, down = _corners(shape)
        y, x = one[Y].to_numpy(), one[X].to_numpy()
        half = abs(y[1] - y[0]) / 2, abs(x[1] - x[0]) / 2
        rows = np.flatnonzero((y > down.min() - half[0]) & (y < down.max() + half[0]))
        columns = np.flatnonzero((x > across.min() - half[1]) & (x < across.max() + half[1]))
        if rows.size < 2 or columns.size < 2:
            raise SchemaError(
                f"polygon {label} covers less than two rows and columns of the maps; give one inside them"
            )
        part = maps.isel({Y: slice(rows[0], rows[-1] + 1), X: slice(columns[0], columns[-1] + 1)})
        west, east, south, north = extent_of(_any_map(part))
        size = part.sizes[Y], part.sizes[X]
        transform = Affine((east - west) / size[1], 0, west, 0, (south - north) / size[0], north)
        mask = geometry_mask([shape], size, transform, invert=True)
        yield label, _only(part, xr.DataArray(mask, dims=(Y, X)))


def _only(part: xr.Dataset, inside: xr.DataArray) -> xr.Dataset:
    """Pixels inside; the others are no data: NaN, 255 in bytes, in flags their bit."""
    kept = {
        name: array.where(inside, other=array.dtype.type(_outside(array)))
        for name, array in part.items()
        if array.dtype.kind in "fu"
    }
    for name, array in kept.items():
        array.attrs = part[name].attrs
    return part.drop_vars([name for name in part if name not in kept]).assign(kept)


def _outside(array: xr.DataArray) -> float:
    return FLAGS["no_data"] if "flag_masks" in array.attrs else no_data_value(array.dtype)


def _shapes(polygons: Any, one: xr.DataArray) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """GeoJSON geometries in the maps' CRS: of a GeoDataFrame or GeoSeries, of shapes, or of one."""
    if hasattr(polygons, "to_crs"):
        crs = one.rio.crs if GRID_MAPPING in one.coords else None
        known = polygons.to_crs(crs) if crs is not None and polygons.crs is not None else polygons
        for label, shape in zip(known.index, known.geometry, strict=True):
            yield label, shape.__geo_interface__
        return
    single = hasattr(polygons, "__geo_interface__") or isinstance(polygons, Mapping)
    shapes: Iterable[Any] = [polygons] if single else polygons
    for number, shape in enumerate(shapes):
        yield number, getattr(shape, "__geo_interface__", shape)


def _corners(shape: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of all corners of a geometry."""
    from rasterio.features import bounds

    try:
        west, south, east, north = bounds(shape)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SchemaError(
            "polygons are shapes with corners in the maps' CRS: GeoDataFrame, shapely or GeoJSON"
        ) from error
    return np.array([west, east]), np.array([south, north])


def _any_map(maps: xr.Dataset) -> xr.DataArray:
    return next(maps[name] for name in maps if {Y, X} <= set(maps[name].dims))


def pixel_hectares(maps: xr.Dataset) -> float:
    """Hectares."""
    one = next((maps[name] for name in maps if {Y, X} <= set(maps[name].dims)), None)
    if one is None or not are_metres(one) or min(one.sizes[Y], one.sizes[X]) < 2:
        raise SchemaError("areas need y and x in metres, two of each at least; give the maps their coordinates")
    steps = [float(abs(one[dim][1] - one[dim][0])) for dim in (Y, X)]
    return steps[0] * steps[1] / _HECTARE


def class_counts(classes: xr.DataArray) -> Any:
    """(256,) pixels by class value."""
    if hasattr(classes.data, "dask"):
        import dask.array as da

        return np.asarray(da.bincount(classes.data.ravel(), minlength=256))
    return np.bincount(np.asarray(classes).ravel(), minlength=256)
