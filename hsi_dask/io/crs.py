"""Coordinate reference systems as text: "EPSG:n" where there is such a code, else WKT; and what CF says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hsi_dask.errors import GridError
from hsi_dask.schema import X, Y

if TYPE_CHECKING:
    from pyproj import CRS, Transformer

Transform = tuple[float, float, float, float, float, float]
_TEXT = re.compile(r"[A-Za-z]+:\w+|[A-Z]\w*\s*\[.*\]", re.DOTALL)  # a code, or WKT: PROJ's own strings may name files
_LONGEST = 100_000  # characters; WKT has some 1000
# CF's words for units, where PROJ has others (udunits): https://cfconventions.org
_UNITS = {"metre": "m", "US survey foot": "US_survey_foot", "foot": "foot", "kilometre": "km"}


def canonical(text: str | int) -> str:
    """One way to write a CRS, given as a code or as WKT: "EPSG:n" where one equals it, else WKT of 2019 on one line.

    Raises
    ------
    GridError
        PROJ does not understand the text, or it is neither projected nor geographic.

    Examples
    --------
    >>> canonical('GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
    ...           'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]')
    'EPSG:4326'
    """
    crs = _parsed(str(text))
    if not (crs.is_projected or crs.is_geographic):
        raise GridError(f"the CRS {crs.name} is neither projected nor geographic; a map needs one that is")
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt("WKT2_2019")


def from_attrs(attrs: Mapping[str, Any]) -> str | None:
    """The CRS that CF's, GDAL's or GeoZarr's attributes tell, canonical; None where they tell none.

    Raises
    ------
    GridError
        They tell one that PROJ does not understand.
    """
    for key in ("crs_wkt", "spatial_ref", "proj:code", "proj:wkt2"):
        if isinstance(text := attrs.get(key), str) and text.strip():
            return canonical(text)
    if not isinstance(attrs.get("grid_mapping_name"), str):
        return None
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return canonical(CRS.from_cf(dict(attrs)).to_wkt())
    except (CRSError, KeyError, ValueError, TypeError) as error:
        raise GridError(f"its grid mapping {attrs['grid_mapping_name']!r:.60} is not understood by PROJ") from error


def epsg(crs: str) -> int | None:
    """The code of a canonical CRS that has one."""
    return int(crs[5:]) if crs.startswith("EPSG:") and crs[5:].isdigit() else None


def name(crs: str) -> str:
    return str(_parsed(crs).name)


def label(crs: str) -> str:
    """How people call it: its code, or its name."""
    return crs if epsg(crs) else name(crs)


def is_geographic(crs: str) -> bool:
    return bool(_parsed(crs).is_geographic)


def unit(crs: str) -> str:
    """The unit of its coordinates, as people write it: m, degree, ..."""
    if is_geographic(crs):
        return "degree"
    found = _axis_unit(_parsed(crs))
    return _UNITS.get(found, found)


def transformer(own: str, crs: str) -> Transformer:
    """From x, y in one canonical CRS to x, y in another, whatever order of axes they define.

    Raises
    ------
    GridError
        PROJ knows no way between them.
    """
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(_parsed(own), _parsed(crs), always_xy=True)
    except ProjError as error:
        raise GridError(f"PROJ knows no way from the CRS {label(own)!r:.60} to {label(crs)}; use another") from error


def grid_mapping(crs: str, transform: Transform | None = None) -> dict[str, Any]:
    """CF grid mapping, and beside it the older WKT that GDAL looks for; where the pixels are, if that is to stay true.

    transform : (a, b, c, d, e, f), x = a column + b row + c, y = d column + e row + f. For arrays on disk: what is
        opened may be cut, and its coordinates say where it is.
    """
    found = dict(_grid_mapping(crs))
    if transform is not None:
        a, b, c, d, e, f = transform
        found["GeoTransform"] = " ".join(map(str, (c, a, b, f, d, e)))
    return found


def axis_attrs(crs: str) -> dict[str, dict[str, str]]:
    """CF attributes of the coordinates y and x of pixel centres."""
    if is_geographic(crs):
        return {
            Y: _axis("latitude", "latitude of the pixel centre", "degrees_north", "Y"),
            X: _axis("longitude", "longitude of the pixel centre", "degrees_east", "X"),
        }
    return {
        Y: _axis("projection_y_coordinate", "northing of the pixel centre", unit(crs), "Y"),
        X: _axis("projection_x_coordinate", "easting of the pixel centre", unit(crs), "X"),
    }


def pixel_area(crs: str, x: float, y: float, resolution: tuple[float, float]) -> float:
    """Square metres of a pixel whose centre is at x, y: on the ellipsoid, where coordinates are degrees."""
    dx, dy = resolution
    parsed = _parsed(crs)
    if not parsed.is_geographic:
        factor = parsed.axis_info[0].unit_conversion_factor if parsed.axis_info else 1.0
        return dx * dy * factor**2
    west, east, south, north = x - dx / 2, x + dx / 2, y - dy / 2, y + dy / 2
    geod = parsed.get_geod()
    if geod is None:
        raise GridError(f"{parsed.name} has no ellipsoid, so that its pixels have no area; use another CRS")
    return abs(geod.polygon_area_perimeter([west, east, east, west], [south, south, north, north])[0])


def _axis(standard_name: str, long_name: str, units: str, axis: str) -> dict[str, str]:
    return {"standard_name": standard_name, "long_name": long_name, "units": units, "axis": axis}


def _axis_unit(crs: CRS) -> str:
    return str(crs.axis_info[0].unit_name) if crs.axis_info else "metre"


@lru_cache(maxsize=64)
def _grid_mapping(crs: str) -> dict[str, Any]:
    parsed = _parsed(crs)
    try:
        told = parsed.to_cf()
    except KeyError:  # pyproj expects parameters that a projection may leave out
        told = {"crs_wkt": parsed.to_wkt()}
    return {**told, "spatial_ref": _old_wkt(parsed)}


def _old_wkt(crs: CRS) -> str:
    from pyproj.exceptions import CRSError

    try:
        return crs.to_wkt("WKT1_GDAL")
    except CRSError:  # what is younger than that standard
        return crs.to_wkt()


@lru_cache(maxsize=64)
def _parsed(text: str) -> CRS:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    shown = text if len(text) < 60 else f"{text[:60]}..."
    if len(text) > _LONGEST or not _TEXT.fullmatch(text.strip()):
        raise GridError(f"the CRS {shown!r} is neither a code such as EPSG:32618 nor WKT; correct it in the file")
    try:
        return CRS.from_user_input(text.strip())
    except (CRSError, UnicodeError) as error:
        if (code := epsg(text)) is not None:
            raise GridError(f"EPSG code {code} is unknown to PROJ; correct the file's CRS") from error
        raise GridError(f"the CRS {shown!r} is not understood by PROJ; correct it in the file") from error
