"""Places on the ground, points and polygons, with the columns of their table: from CSV, vector files or geopandas."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, EndmemberError, FileFormatError, GridError, SchemaError
from hsi_dask.io import crs as reference
from hsi_dask.io.delimited import clean, number, read_delimited, shown, with_formula
from hsi_dask.io.vector_files import DEGREES, VECTORS, read_frame, require_file

TABLES = (".csv", ".txt", ".tsv")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]{0,9})(?:[.,][0-9]{1,6})?")  # what float64 gives back as it was
# Names of coordinates in tables of plots and trees, NEON's among them; upper and lower case are the same
_METRES = (("x", "y"), ("easting", "northing"), ("adjeasting", "adjnorthing"), ("utm_x", "utm_y"))
_ANGLES = (("lon", "lat"), ("longitude", "latitude"), ("long", "lat"), ("decimallongitude", "decimallatitude"),
           ("adjdecimallongitude", "adjdecimallatitude"))  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Points and polygons.

    Attributes
    ----------
    x, y : (n,) float64 coordinates of points; NaN of polygons, and where there is no geometry
    shapes : (n,) polygons as shapely has them, None of points; no elements where all are points
    columns : what their table tells, by name, n values each
    crs : canonical; None is that of the maps
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    crs: str | None = None
    shapes: NDArray[Any] = field(default_factory=lambda: np.empty(0, object))

    @property
    def count(self) -> int:
        return self.x.size

    def to_crs(self, crs: str) -> Places:
        """The same places in another CRS; what cannot be there has coordinates that are not finite.

        Raises GridError where PROJ knows no way from one to the other.
        """
        if self.crs is None or self.crs == crs:
            return replace(self, crs=crs)
        change = reference.transformer(self.crs, crs)
        x, y = change.transform(self.x, self.y)
        shapes = self.shapes
        if shapes.size:
            import shapely

            shapes = shapely.transform(shapes, lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1])))
        return replace(self, x=np.asarray(x), y=np.asarray(y), shapes=shapes, crs=crs)

    def geometry(self) -> list[Any]:
        """Of each place what shapely has for it: a polygon, a point, or None."""
        import shapely

        shapes = self.shapes if self.shapes.size else [None] * self.count
        points = (None if x != x or y != y else shapely.Point(x, y) for x, y in zip(self.x, self.y, strict=True))
        return [point if shape is None else shape for shape, point in zip(shapes, points, strict=True)]


def read_places(points: Any, *, crs: str | int | None = None, layer: str | None = None) -> Places:
    """Places from what people have them in.

    Parameters
    ----------
    points : a path of a table (.csv, .txt, .tsv) with columns x and y, easting and northing, or lon and lat, or of a
        vector file (GeoJSON, GeoPackage, shapefile, FlatGeobuf; needs geopandas); a GeoDataFrame or GeoSeries; a
        DataFrame with such columns; an array (n, 2) of x and y.
    crs : of the coordinates, such as "EPSG:4326", where they do not tell it. Without it lon and lat are degrees of
        WGS 84, and x and y in the CRS of the maps.
    layer : of a file that has several.

    Raises
    ------
    FileFormatError
        The file cannot be read, or holds other geometries than points and polygons.
    ConfigError
        `crs` is not what the file says, or the file has no such layer.
    SchemaError
        No columns of coordinates, or nothing that places can be read from.
    """
    own = None if crs is None else _stated_crs(crs)
    if isinstance(points, str | os.PathLike):
        path = Path(points)
        require_file(path, (*TABLES, *VECTORS))
        if path.suffix.lower() in TABLES:
            return _from_table(path, own)
        return _from_geometry(read_frame(path, layer), own, str(path))
    if hasattr(points, "geometry") and hasattr(points, "crs"):
        return _from_geometry(points, own, "the points")
    if hasattr(points, "columns"):
        return _from_columns(_columns(points, "the table"), own, "the table")
    return _from_array(points, own)


def _stated_crs(crs: str | int) -> str:
    text = str(crs).strip()
    try:
        return reference.canonical(f"EPSG:{text}" if text.isdigit() else text)
    except GridError as error:
        raise ConfigError(f"the CRS {shown(text)} is none; give a code such as EPSG:32618, or WKT") from error


def _from_array(points: Any, crs: str | None) -> Places:
    try:
        values = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 2 or values.shape[1] != 2:
        raise SchemaError("places are a path, a GeoDataFrame, a table with columns x and y, or an array (n, 2) of x, y")
    return Places(values[:, 0], values[:, 1], crs=crs)


# ------------------------------------------------------------------------------------------------ tables


def _from_table(path: Path, crs: str | None) -> Places:
    try:
        table = read_delimited(path, "places")
        rows = [[with_formula(cell) for cell in row] for _, row in table.rows]
    except EndmemberError as error:
        raise FileFormatError(str(error)) from error
    names = [clean(name) or f"column_{n}" for n, name in enumerate(table.head, 1)]
    _require_each_once(names, str(path))
    columns = {name: _typed([row[n] for row in rows], table.comma) for n, name in enumerate(names)}
    return _from_columns(columns, crs, str(path))


def _require_each_once(names: Sequence[str], what: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FileFormatError(f"several columns of {what} are called {shown(twice)}; rename all but one")


def _columns(frame: Any, what: str, geometry: Any = None) -> dict[str, list[Any]]:
    """The columns of a DataFrame by name, but for its geometry."""
    own = [name for name in frame.columns if name != geometry]
    _require_each_once(list(map(str, own)), what)
    return {str(name): frame[name].tolist() for name in own}


def _typed(cells: list[str], comma: bool) -> list[Any]:
    """Numbers where all cells are plain ones, which come out as they went in; else text: 007 is a name."""
    filled = [cell for cell in cells if cell]
    if not filled or not all(map(_PLAIN.fullmatch, filled)) or (comma and any("." in cell for cell in filled)):
        return cells
    if len(filled) == len(cells) and not any(set(cell) & set(".,") for cell in cells):
        return list(map(int, cells))
    found = [number(cell, comma) for cell in cells]
    return cells if None in found else found


def _from_columns(columns: Mapping[str, Sequence[Any]], crs: str | None, what: str) -> Places:
    """Places of the columns of coordinates: degrees only if there are no others, or the CRS has them."""
    lower = {name.strip().lower(): name for name in columns}
    known = {name for pair in (*_METRES, *_ANGLES) for name in pair}
    _require_each_once([name for name in (c.strip().lower() for c in columns) if name in known], what)
    first = _ANGLES if crs and reference.is_geographic(crs) else _METRES
    for pairs in (first, _METRES, _ANGLES):
        for x, y in pairs:
            if x in lower and y in lower:
                own = crs or (DEGREES if pairs is _ANGLES else None)
                across, down = (_numbers(columns, lower[name], what) for name in (x, y))
                return Places(across, down, columns, own)
    held = ", ".join(map(shown, list(columns)[:12]))
    raise SchemaError(f"{what} has no columns x and y, easting and northing, or lon and lat, but {held}; rename two")


def _numbers(columns: Mapping[str, Sequence[Any]], name: str, what: str) -> NDArray[np.float64]:
    found = [_number(value) for value in columns[name]]
    if None in found:
        wrong = columns[name][found.index(None)]
        raise FileFormatError(f"{what} has {shown(str(wrong))} in column {shown(name)}; coordinates must be numbers")
    return np.array(found, np.float64)


def _number(value: Any) -> float | None:
    """A coordinate; NaN where there is none, None where it is something else."""
    if isinstance(value, str):
        return next((found for comma in (False, True) if (found := number(value.strip(), comma)) is not None), None)
    try:
        return np.nan if value is None else float(value)
    except (TypeError, ValueError):
        return None


# ------------------------------------------------------------------------------------------------ vectors


def _from_geometry(frame: Any, crs: str | None, what: str) -> Places:
    """Of a GeoDataFrame or a GeoSeries."""
    told = _told_crs(frame, crs, what)
    geometry = frame.geometry
    shapes = np.array(geometry.values, dtype=object)
    kinds = [None if shape is None or shape.is_empty else shape.geom_type for shape in shapes]
    others = sorted({kind for kind in kinds if kind not in (None, "Point", "Polygon", "MultiPolygon")})
    if others:
        raise FileFormatError(f"{what} holds {' and '.join(others)}; give points or polygons")
    is_point = np.array([kind == "Point" for kind in kinds], bool)
    x, y = np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
    x[is_point], y[is_point] = (np.array([getattr(s, axis) for s in shapes[is_point]]) for axis in "xy")
    kept = np.array([s if kind in ("Polygon", "MultiPolygon") else None for s, kind in zip(shapes, kinds, strict=True)])
    columns = _columns(frame, what, geometry.name) if hasattr(frame, "columns") else {}
    no_shapes = all(shape is None for shape in kept)
    return Places(x, y, columns, told, np.empty(0, object) if no_shapes else np.asarray(kept, object))


def _told_crs(frame: Any, crs: str | None, what: str) -> str | None:
    if frame.crs is None:
        return crs
    try:
        told = reference.canonical(frame.crs.to_wkt())
    except GridError as error:
        raise FileFormatError(f"{what}: {error}") from error
    if crs is not None and crs != told:
        raise ConfigError(f"{what} is in {reference.label(told)}, not {reference.label(crs)}; leave out the CRS")
    return told
