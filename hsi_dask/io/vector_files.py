"""Vector files: GeoJSON, GeoPackage, shapefile and FlatGeobuf, told by how they begin.

GDAL goes by what a file holds, not by its name: a `.json` could be a recipe that leads to other files, or to the
network. So GeoJSON is parsed here, and GDAL gets only files of kinds that hold their data themselves, and of
GeoPackages those that compute nothing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hsi_dask.errors import ConfigError, FileFormatError, GridError, HsiDaskError
from hsi_dask.io import crs as reference
from hsi_dask.io.delimited import shown
from hsi_dask.io.durable import PART, sync_folders
from hsi_dask.io.geopackage import require_plain_tables
from hsi_dask.io.regular import read_regular

DEGREES = "EPSG:4326"
_BEGINS = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a", ".fgb": b"fgb\x03"}
_GEOJSON = (".geojson", ".json")
VECTORS = (*_GEOJSON, *_BEGINS)
_MOST_BYTES = 2**26  # of GeoJSON: 200 000 crowns
_URN = re.compile(r"urn:ogc:def:crs:(\w+):(?:[\w.]*:)?(\w+)", re.IGNORECASE)  # urn:ogc:def:crs:EPSG::32618


def require_file(path: Path, known: Sequence[str]) -> None:
    """Raise FileFormatError if a path leads to no file, or to one of another kind."""
    if not path.is_file():
        raise FileFormatError(f"{path} does not exist or is no file; give one of {', '.join(known)}")
    if path.suffix.lower() not in known:
        raise FileFormatError(f"{path} is of no known kind; give one of {', '.join(known)}")


def is_geojson(path: Path) -> bool:
    return path.suffix.lower() in _GEOJSON


def geopandas() -> Any:
    """The library, or ConfigError that says how to have it."""
    try:
        import geopandas as library
        import pyogrio  # noqa: F401  by which it reads files
    except ImportError as error:
        raise ConfigError(
            'this needs geopandas: pip install "hsi-dask[vector]", or export areas as GeoJSON, places as CSV with '
            "columns x and y"
        ) from error
    return library


# ------------------------------------------------------------------------------------------------ GeoJSON


def read_geojson(path: Path) -> tuple[dict[str, Any], str | None]:
    """The object of a GeoJSON file, and the CRS that it names, canonical.

    RFC 7946 has degrees of WGS 84; the specification before it a member `crs`. Where there is none the CRS is None,
    and `require_degrees` is for the coordinates.

    Raises
    ------
    FileFormatError
        It cannot be read, is too large, is no GeoJSON, or has a CRS that PROJ does not know.
    """
    try:
        found = json.loads(read_regular(path, _MOST_BYTES).decode("utf-8-sig"))
    except FileFormatError:
        raise
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is no GeoJSON ({_first_line(error)}); export it again") from None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise FileFormatError(f"{path} is no GeoJSON: it is no object with a type; export it again")
    return found, _named_crs(found["crs"], path) if "crs" in found else None


def _named_crs(member: Any, path: Path) -> str:
    properties = member.get("properties") if isinstance(member, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str):
        raise FileFormatError(f"{path} has a member crs that names none; export it again with its CRS, or in degrees")
    urn = _URN.fullmatch(name.strip())
    code = f"{urn[1]}:{urn[2]}".upper() if urn else name
    try:
        return DEGREES if code == "OGC:CRS84" else reference.canonical(code)
    except GridError as error:
        what = str(error).partition("; ")[0]
        raise FileFormatError(f"{path}: {what}; export it again with a CRS that PROJ knows") from None


def require_degrees(path: Path, bounds: Sequence[float]) -> None:
    """Raise FileFormatError if west, south, east, north of a file that names no CRS are no degrees."""
    west, south, east, north = map(abs, bounds)
    if max(west, east) > 360 or max(south, north) > 90:
        raise FileFormatError(
            f"{path} names no CRS, so that its coordinates are degrees (RFC 7946), but they go up to "
            f"{max(west, south, east, north):.10g}; export it with its CRS, or in degrees"
        )


# ------------------------------------------------------------------------------------------------ geopandas


def read_layers(path: Path) -> dict[str, str]:
    """The kind of geometry of each layer, as `MultiPolygon`, of another file than GeoJSON. Raises as `read_frame`."""
    library = geopandas()
    with _refused(path), open(path, "rb") as file:
        if not file.read(16).startswith(_BEGINS[suffix := path.suffix.lower()]):
            raise FileFormatError(f"{path} does not begin as a {suffix} file does; give one that does, or GeoJSON")
        if suffix == ".gpkg":
            require_plain_tables(path)
        listed = library.list_layers(path)
    kinds = (kind if isinstance(kind, str) else "" for kind in listed["geometry_type"])
    return dict(zip(map(str, listed["name"]), kinds, strict=True))


def read_frame(path: Path, layer: str | None = None, columns: Sequence[str] | None = None) -> Any:
    """A vector file as a GeoDataFrame, with all columns where none are named.

    Raises
    ------
    FileFormatError
        It is not what its name says, damaged, too large, or has no geometry.
    ConfigError
        It has several layers and none is named, or not this one; or there is no geopandas.
    """
    library = geopandas()
    layers = [path.stem] if is_geojson(path) else list(read_layers(path))
    layer = _require_layer(path, layer, layers)
    with _refused(path):
        if is_geojson(path):
            return _from_geojson(path, library)
        frame = library.read_file(path, layer=layer, columns=columns, engine="pyogrio")
    if not hasattr(frame, "crs"):
        raise FileFormatError(f"{path} has no geometry; give points or polygons")
    return frame


def _require_layer(path: Path, layer: str | None, layers: list[str]) -> str:
    some = ", ".join(map(shown, layers[:12]))
    if layer is None and len(layers) != 1:
        raise ConfigError(f"{path} has the layers {some or 'none'}; say which (--layer)")
    if layer is not None and layer not in layers:
        raise ConfigError(f"{path} has no layer {shown(layer)} but {some}")
    return layer or layers[0]


def _from_geojson(path: Path, library: Any) -> Any:
    held, crs = read_geojson(path)
    features = held.get("features") if held["type"] == "FeatureCollection" else None
    if features is None:
        features = [held if held["type"] == "Feature" else {"type": "Feature", "properties": {}, "geometry": held}]
    frame = library.GeoDataFrame.from_features(
        [one | {"properties": one.get("properties") or {}} for one in features], crs=crs or DEGREES
    )
    if crs is None:
        require_degrees(path, frame.total_bounds)
    return frame


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """What GDAL, pyogrio or shapely cannot read, in a sentence; what GDAL warns of is in the file's own words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except HsiDaskError:
        raise
    except Exception as error:
        raise FileFormatError(
            f"{path} cannot be read as points or polygons ({_first_line(error)}); export it again"
        ) from error


def write_frame(path: Path, columns: Any, geometry: Any, crs: str | None) -> None:
    """A vector file of the columns of a DataFrame; whole, or not there. Raises OSError, and ConfigError."""
    frame = geopandas().GeoDataFrame(columns, geometry=geometry, crs=crs)
    with TemporaryDirectory(suffix=PART, prefix=f".{path.name}-", dir=path.parent) as folder:
        try:
            frame.to_file(Path(folder) / path.name)
        except OSError:
            raise
        except Exception as error:  # GDAL's drivers have no type for a full disk
            raise OSError(errno.EIO, _first_line(error), str(path)) from error
        for made in os.listdir(folder):  # a shapefile has others beside it
            os.replace(Path(folder) / made, path.parent / made)
    sync_folders([path.parent])


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
