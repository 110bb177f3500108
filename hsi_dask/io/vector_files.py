"""Vector files by way of geopandas: GeoJSON, GeoPackage, shapefile and FlatGeobuf, told by how they begin.

GDAL goes by what a file holds, not by its name: a `.json` could be a recipe that leads to other files, or to the
network. So GeoJSON is read here, and GDAL gets only files of kinds that hold their data themselves.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hsi_dask.errors import ConfigError, FileFormatError
from hsi_dask.io.delimited import shown
from hsi_dask.io.durable import PART, sync_folders
from hsi_dask.io.regular import read_regular

_BEGINS = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a", ".fgb": b"fgb\x03"}
_JSON = (".geojson", ".json")
VECTORS = (*_JSON, *_BEGINS)
_MOST_JSON = 2**28  # bytes: a million crowns
_URN = re.compile(r"(?:urn:ogc:def:crs:)?(EPSG|OGC):[\d.]*:?(\w+)")  # urn:ogc:def:crs:EPSG::32618, or EPSG:32618


def geopandas() -> Any:
    """The library, or ConfigError that says how to have it."""
    try:
        import geopandas as library
    except ImportError as error:
        raise ConfigError(
            'this needs geopandas: pip install "hsi-dask[vector]", or give places as CSV with columns x and y'
        ) from error
    return library


def read_frame(path: Path, layer: str | None = None) -> Any:
    """A vector file as a GeoDataFrame.

    Raises
    ------
    FileFormatError
        It is not what its name says, damaged, too large, or has no geometry.
    ConfigError
        It has several layers and none is named, or not this one; or there is no geopandas.
    """
    library, suffix = geopandas(), path.suffix.lower()
    try:
        if suffix in _JSON:
            _require_layer(path, layer, [path.stem])
            return _from_json(path, library)
        _require_kind(path, suffix)
        layers = library.list_layers(path)["name"].tolist()
        frame = library.read_file(path, layer=_require_layer(path, layer, layers))
    except (FileFormatError, ConfigError):
        raise
    except Exception as error:  # of json, shapely or GDAL, by way of pyogrio
        raise FileFormatError(f"{path} cannot be read as points or polygons ({_first_line(error)})") from error
    if not hasattr(frame, "crs"):
        raise FileFormatError(f"{path} has no geometry; give points or polygons")
    return frame


def _require_kind(path: Path, suffix: str) -> None:
    with open(path, "rb") as file:
        if not file.read(16).startswith(_BEGINS[suffix]):
            raise FileFormatError(f"{path} does not begin as a {suffix} file does; give one that does, or GeoJSON")


def _require_layer(path: Path, layer: str | None, layers: list[str]) -> str:
    some = ", ".join(map(shown, layers[:12]))
    if layer is None and len(layers) != 1:
        raise ConfigError(f"{path} has the layers {some or 'none'}; say which (--layer)")
    if layer is not None and layer not in layers:
        raise ConfigError(f"{path} has no layer {shown(layer)} but {some}")
    return layer or layers[0]


def _from_json(path: Path, library: Any) -> Any:
    """RFC 7946, and the member `crs` of the specification before it."""
    held = json.loads(read_regular(path, _MOST_JSON).decode("utf-8-sig"))
    if not isinstance(held, dict) or not isinstance(held.get("type"), str):
        raise FileFormatError(f"{path} is no GeoJSON: it is no object with a type; give points or polygons")
    features = held.get("features") if held["type"] == "FeatureCollection" else None
    if features is None:
        features = [held if held["type"] == "Feature" else {"type": "Feature", "properties": {}, "geometry": held}]
    return library.GeoDataFrame.from_features(
        [one | {"properties": one.get("properties") or {}} for one in features], crs=_crs(held.get("crs"), path)
    )


def _crs(member: Any, path: Path) -> str:
    if member is None:
        return "EPSG:4326"
    told = str(member["properties"]["name"])
    found = _URN.fullmatch(told)
    if not found or (found[1] == "OGC" and found[2] != "CRS84"):
        raise FileFormatError(f"{path} has the CRS {shown(told)}; give one by its EPSG code")
    return f"EPSG:{found[2]}" if found[1] == "EPSG" else "EPSG:4326"


def write_frame(path: Path, columns: Any, geometry: Any, crs: str | None) -> None:
    """A vector file of the columns of a DataFrame; whole, or not there. Raises OSError, and ConfigError."""
    frame = geopandas().GeoDataFrame(columns, geometry=geometry, crs=crs)
    with TemporaryDirectory(suffix=PART, prefix=f".{path.name}-", dir=path.parent) as folder:
        frame.to_file(Path(folder) / path.name)
        for made in os.listdir(folder):  # a shapefile has others beside it
            os.replace(Path(folder) / made, path.parent / made)
    sync_folders([path.parent])


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
