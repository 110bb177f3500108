"""Areas of interest: bounds and polygons, read from files and brought to the tiles' CRS; which pixels are inside."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, FileFormatError, GridError
from hsi_dask.io import crs as reference
from hsi_dask.io.documents import Digest, Form, Text, between
from hsi_dask.io.durable import digest
from hsi_dask.io.vector_files import (
    DEGREES,
    VECTORS,
    is_geojson,
    read_frame,
    read_geojson,
    read_layers,
    require_degrees,
    require_file,
)

Bounds = tuple[float, float, float, float]  # west, south, east, north
Coordinate = Annotated[float, between(-1e9, 1e9)]
Point = tuple[Coordinate, Coordinate]  # x, y
Ring = Annotated[tuple[Point, ...], Form("a closed ring", lambda ring: len(ring) >= 4 and ring[0] == ring[-1])]
Polygon = Annotated[tuple[Ring, ...], Form("a polygon of a ring or more", lambda rings: len(rings) > 0)]
Rings = NDArray[np.float64]  # (n, 2) of one ring, on the way to a Region

MOST_VERTICES = 50_000  # of a region: every tile's task reads it
# Straight lines of one CRS are curves in another: their points are set this close, in degrees or metres, and at
# most so many a line. Between points 1 km apart a parallel leaves the straight line of UTM by 2 cm
_STEPS, _MOST_STEPS = {True: 0.01, False: 1000.0}, 200


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
        return together(self.boxes)

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
    """The polygons of a GeoJSON file, a GeoPackage, a shapefile or a FlatGeobuf, in the tiles' CRS.

    GeoJSON without a CRS is in degrees of WGS 84, as RFC 7946 has it. Overlapping polygons count once; a ring that
    crosses itself is filled by the even-odd rule. Points and lines have no area, and are left out.

    Raises
    ------
    ConfigError
        The file cannot be read, has no or an unknown CRS, or holds no polygon or a damaged one.
    """
    path = Path(path)
    try:
        require_file(path, VECTORS)
        polygons, own = _read(path)
        return _region(path.name, polygons, own, crs)
    except FileFormatError as error:
        raise ConfigError(str(error)) from error
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
    try:
        if own == crs or (own := reference.canonical(own)) == crs:
            return ring
        dense = _dense(ring, _STEPS[reference.is_geographic(own)])
        x, y = reference.transformer(own, crs).transform(dense[:, 0], dense[:, 1])
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


def together(boxes: Sequence[Bounds]) -> Bounds:
    """The box around boxes."""
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


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


def _read(path: Path) -> tuple[list[list[Rings]], str]:
    """The polygons of a file, and their CRS."""
    if is_geojson(path):
        found, crs = read_geojson(path)
        polygons = list(_polygons(found))
        if polygons and crs is None:
            require_degrees(path, together([_box(rings[0]) for rings in polygons]))
        return polygons, crs or DEGREES
    layers = [name for name, kind in read_layers(path).items() if "Polygon" in kind]
    if len(layers) != 1:
        told = f"{len(layers)} layers with polygons ({', '.join(layers)[:200]})" if layers else "no polygon"
        raise FileFormatError(f"{path} holds {told}; export the one you mean to a file of its own")
    frame = read_frame(path, layers[0], columns=[])
    if frame.crs is None:
        raise FileFormatError(f"{path} has no CRS (a shapefile has it in its .prj); export it again with its CRS")
    shapes = (None if shape is None else shape.__geo_interface__ for shape in frame.geometry)
    return [rings for shape in shapes for rings in _polygons(shape)], frame.crs.to_wkt()
