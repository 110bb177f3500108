"""Areas of interest: bounds and polygons, read from files and brought to the tiles' CRS; which pixels are inside."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, GridError
from hsi_dask.io import crs as reference
from hsi_dask.io.documents import Digest, Form, Text, between
from hsi_dask.io.durable import digest

Bounds = tuple[float, float, float, float]  # west, south, east, north
Coordinate = Annotated[float, between(-1e9, 1e9)]
Point = tuple[Coordinate, Coordinate]  # x, y
Ring = Annotated[tuple[Point, ...], Form("a closed ring", lambda ring: len(ring) >= 4 and ring[0] == ring[-1])]
Polygon = Annotated[tuple[Ring, ...], Form("a polygon of a ring or more", lambda rings: len(rings) > 0)]
Rings = NDArray[np.float64]  # (n, 2) of one ring, on the way to a Region

MOST_VERTICES = 50_000  # of a region: every tile's task reads it
_MOST_BYTES = 64 * 2**20  # of a GeoJSON file
# Straight lines of one CRS are curves in another: their points are set this close, in degrees or metres, and at
# most so many a line. Between points 1 km apart a parallel leaves the straight line of UTM by 2 cm
_STEPS, _MOST_STEPS = {True: 0.01, False: 1000.0}, 200
_URN = re.compile(r"urn:ogc:def:crs:(\w+):[\w.]*:(\w+)", re.IGNORECASE)
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}  # by these GDAL takes them for nothing else
_GEOJSON = (".geojson", ".json")


@dataclass(frozen=True)
class Region:
    """An area of interest in the CRS of the tiles.

    Attributes
    ----------
    name : as messages call it
    crs : canonical
    origin : digest of the polygons and their CRS as they were given
    polygons : of each the outer ring, then holes; they may overlap
    """

    name: Text
    crs: Text
    origin: Digest
    polygons: Annotated[tuple[Polygon, ...], Form("one polygon or more", lambda polygons: len(polygons) > 0)]

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north of all polygons."""
        boxes = np.array(self.boxes)
        return tuple(map(float, (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))))  # type: ignore[return-value]

    @cached_property
    def boxes(self) -> list[Bounds]:
        """The same of each polygon."""
        return [_box(np.array(rings[0])) for rings in self.polygons]


def region_of_bounds(bounds: Bounds, crs: str, of_bounds: str | None = None) -> Region:
    """The rectangle between bounds, in the tiles' CRS or in another one.

    Parameters
    ----------
    bounds : west, south, east, north
    crs : of the tiles
    of_bounds : "EPSG:n", the bounds' own CRS; None is that of the tiles

    Raises
    ------
    ConfigError
        An unknown CRS, or bounds that cannot be brought from one to the other.
    """
    west, south, east, north = bounds
    name = "bounds " + " ".join(f"{value:.10g}" for value in bounds) + (f" in {of_bounds}" if of_bounds else "")
    ring = np.array([(west, south), (east, south), (east, north), (west, north), (west, south)], np.float64)
    return _region(name, [[ring]], of_bounds or crs, crs)


def read_region(path: str | os.PathLike[str], crs: str) -> Region:
    """The polygons of a GeoJSON file, a GeoPackage or a shapefile, in the tiles' CRS.

    GeoJSON without a CRS is in degrees of WGS 84, as RFC 7946 has it. Overlapping polygons count once; a ring that
    crosses itself is filled by the even-odd rule. Points and lines have no area, and are left out.

    Raises
    ------
    ConfigError
        The file cannot be read, has no or an unknown CRS, or holds no polygon or a damaged one.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path} {'is no file' if path.exists() else 'does not exist'}; give a file of polygons")
    if path.suffix.lower() in _GEOJSON:
        geometries, own = _geojson(path)
    elif path.suffix.lower() in _MAGIC:
        geometries, own = _vector(path)
    else:
        known = ", ".join((*_GEOJSON, *_MAGIC))
        raise ConfigError(f"{path} is of no format for polygons that is known ({known}); convert it")
    try:
        polygons = [rings for geometry in geometries for rings in _polygons(geometry)]
        return _region(path.name, polygons, own, crs)
    except _BadGeometryError as error:
        raise ConfigError(f"{path} {error}; correct it") from None
    except RecursionError:
        raise ConfigError(f"{path} holds collections in collections without end; correct it") from None


def inside(
    region: Region, corner: tuple[float, float], resolution: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """(y, x) bool: the pixels of a grid whose centre is in the region.

    Parameters
    ----------
    corner : west and north outer edges of the north-west pixel
    resolution : x, y of a pixel, both positive
    shape : rows, columns
    """
    from rasterio.features import geometry_mask
    from rasterio.transform import Affine

    (west, north), (dx, dy), (rows, columns) = corner, resolution, shape
    box = west, north - rows * dy, west + columns * dx, north
    near = [rings for rings, own in zip(region.polygons, region.boxes, strict=True) if overlap(own, box)]
    if not near:
        return np.zeros(shape, bool)
    found: NDArray[np.bool_] = geometry_mask(
        [{"type": "Polygon", "coordinates": rings} for rings in near], shape, Affine(dx, 0, west, 0, -dy, north),
        all_touched=False, invert=True,
    )  # fmt: skip
    return found


def overlap(one: Bounds, other: Bounds) -> bool:
    """Do two boxes share an area?"""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def extent_text(bounds: Bounds, crs: str) -> str:
    """Bounds as messages tell them."""
    west, south, east, north = bounds
    return f"{west:.10g} to {east:.10g} E and {south:.10g} to {north:.10g} N in {reference.label(crs)}"


# ------------------------------------------------------------------------------------------------ geometries


class _BadGeometryError(ValueError):
    """What is wrong with a geometry, as the end of a sentence that begins with its file."""


def _region(name: str, polygons: Sequence[Sequence[Rings]], own: str, crs: str) -> Region:
    """Polygons in one CRS as a region in another."""
    if not polygons:
        raise _BadGeometryError("holds no polygon")
    if (count := sum(len(ring) for rings in polygons for ring in rings)) > MOST_VERTICES:
        raise _BadGeometryError(f"has {count} vertices, more than {MOST_VERTICES}: simplify its polygons, or cut it")
    moved = [[_moved(ring, own, crs, name) for ring in rings] for rings in polygons]
    origin = digest(f"{own} {[[ring.tolist() for ring in rings] for rings in polygons]}".encode())
    typed = tuple(tuple(tuple((x, y) for x, y in ring.tolist()) for ring in rings) for rings in moved)
    return Region(name, crs, origin, typed)


def _moved(ring: Rings, own: str, crs: str, name: str) -> Rings:
    """A ring in another CRS, its lines as curved as they are there."""
    from pyproj import Transformer

    try:
        if own == crs or (own := reference.canonical(own)) == crs:
            return ring
        dense = _dense(ring, _STEPS[reference.is_geographic(own)])
        x, y = Transformer.from_crs(own, crs, always_xy=True).transform(dense[:, 0], dense[:, 1])
    except GridError as error:
        raise ConfigError(f"{name}: {str(error).partition('; ')[0]}; name a CRS that PROJ knows") from None
    moved = np.column_stack([x, y])
    if not np.isfinite(moved).all():
        raise ConfigError(f"{name} ({extent_text(_box(ring), own)}) cannot be brought to {reference.label(crs)}")
    return moved


def _dense(ring: Rings, step: float) -> Rings:
    """A ring with points along its lines that are at most a step apart."""
    lengths = np.abs(np.diff(ring, axis=0)).max(axis=1)
    counts = np.clip(np.ceil(lengths / step), 1, _MOST_STEPS).astype(int)
    starts = np.repeat(np.arange(counts.size), counts)
    share = np.concatenate([np.arange(count) / count for count in counts])[:, None]
    return np.vstack([ring[starts] + share * (ring[starts + 1] - ring[starts]), ring[-1:]])


def _box(ring: Rings) -> Bounds:
    (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
    return float(west), float(south), float(east), float(north)


def _polygons(geometry: Any) -> Iterator[list[Rings]]:
    """The polygons in a GeoJSON object, whatever it is."""
    if geometry is None:
        return
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "FeatureCollection":
        for feature in _list(geometry.get("features")):
            yield from _polygons(feature)
    elif kind == "Feature":
        yield from _polygons(geometry.get("geometry"))
    elif kind == "GeometryCollection":
        for part in _list(geometry.get("geometries")):
            yield from _polygons(part)
    elif kind == "Polygon":
        yield _rings(geometry.get("coordinates"))
    elif kind == "MultiPolygon":
        yield from map(_rings, _list(geometry.get("coordinates")))
    elif kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise _BadGeometryError(f"holds something of the type {kind!r:.50}, which is no GeoJSON")


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise _BadGeometryError("has a part that should be a list and is none")
    return value


def _rings(coordinates: Any) -> list[Rings]:
    rings = [_ring(points) for points in _list(coordinates)]
    if not rings:
        raise _BadGeometryError("holds a polygon without a ring")
    x, y = (rings[0][:, axis] - rings[0][0, axis] for axis in (0, 1))
    if not (x[:-1] * y[1:] - x[1:] * y[:-1]).sum():
        raise _BadGeometryError("holds a polygon without an area")
    return rings


def _ring(points: Any) -> Rings:
    try:  # heights are left out
        ring = np.array([[float(value) for value in _list(point)[:2]] for point in _list(points)], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _BadGeometryError("holds a point that is not numbers") from None
    if ring.ndim != 2 or ring.shape[1] != 2 or not (np.abs(ring) <= 1e9).all():
        raise _BadGeometryError("holds a ring of which some point is not two plain numbers")
    if len(ring) < 4 or (ring[0] != ring[-1]).any():
        raise _BadGeometryError(f"holds a ring of {len(ring)} points that is not closed; four and more make one")
    return ring


# ------------------------------------------------------------------------------------------------ files


def _geojson(path: Path) -> tuple[list[Any], str]:
    """The objects of a GeoJSON file, and its CRS."""
    if path.stat().st_size > _MOST_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes: too long; simplify its polygons")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no GeoJSON ({str(error)[:100]}); export it again") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no GeoJSON: it holds no object; export it again")
    return [found], _geojson_crs(found, path)


def _geojson_crs(found: dict[str, Any], path: Path) -> str:
    """Of the file's own old-style member `crs`, else degrees."""
    if "crs" not in found:
        _require_degrees(found, path)
        return "EPSG:4326"
    member = found["crs"] if isinstance(found["crs"], dict) else {}
    properties = member.get("properties")
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str):
        raise ConfigError(f"{path} has a member crs that names none; export it again with its CRS, or in degrees")
    urn = _URN.fullmatch(name.strip())
    return f"{urn[1]}:{urn[2]}".upper() if urn else name


def _require_degrees(found: dict[str, Any], path: Path) -> None:
    try:
        boxes = np.array([_box(rings[0]) for rings in _polygons(found)])
    except _BadGeometryError:
        return  # whoever reads on says what is wrong
    if boxes.size and (np.abs(boxes[:, ::2]).max() > 360 or np.abs(boxes[:, 1::2]).max() > 90):
        raise ConfigError(
            f"{path} names no CRS, so that its coordinates are degrees (RFC 7946), but they go up to "
            f"{np.abs(boxes).max():.10g}; export it with its CRS, or in degrees"
        )


def _vector(path: Path) -> tuple[list[Any], str]:
    """The geometries of a GeoPackage or shapefile, and its CRS."""
    suffix = path.suffix.lower()
    with path.open("rb") as stream:
        if not stream.read(16).startswith(_MAGIC[suffix]):
            raise ConfigError(f"{path} is no {suffix} file, whatever its name says; export it again")
    try:
        import geopandas
        import pyogrio
    except ImportError:
        raise ConfigError(
            f'reading {path} needs geopandas: pip install "hsi-dask[vector]", or export it as GeoJSON'
        ) from None
    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind and "Polygon" in kind]
        if len(layers) != 1:
            told = f"{len(layers)} layers with polygons ({', '.join(layers)[:200]})" if layers else "no polygon"
            raise ConfigError(f"{path} holds {told}; export the one you mean to a file of its own")
        frame = geopandas.read_file(path, layer=layers[0], columns=[], engine="pyogrio")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({str(error)[:200]}); export it again") from None
    if frame.crs is None:
        raise ConfigError(f"{path} has no CRS (a shapefile has it in its .prj); export it again with its CRS")
    shapes = [None if shape is None else shape.__geo_interface__ for shape in frame.geometry]
    return shapes, frame.crs.to_wkt()
