"""Three fractions as red, green and blue in one picture, as the field draws soil, plants and litter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError
from hsi_dask.escaping import xml_text
from hsi_dask.io.map_grid import Grid
from hsi_dask.schema import CLASS_DIMS, Variable
from hsi_dask.show.labels import Labels

CHANNELS = {"red": "#ff0000", "green": "#00ff00", "blue": "#0000ff"}
MIX = "rgb"  # of a map's name: what a file or a layer of its composite is called


def has_composite(variable: Variable, planes: int) -> bool:
    """Whether a map is of three fractions or more."""
    return variable.role == "fraction" and len(variable.dims) > len(CLASS_DIMS) and planes >= len(CHANNELS)


def largest(means: Sequence[float]) -> tuple[int, ...]:
    """Where the three largest are, in their order.

    Examples
    --------
    >>> largest([0.1, 0.4, 0.2, 0.3])
    (1, 2, 3)
    """
    order = np.argsort(-np.nan_to_num(means, nan=-1.0), kind="stable")[: len(CHANNELS)]
    return tuple(sorted(order.tolist()))


def places_of(labels: Labels, wanted: Sequence[str]) -> tuple[int, ...]:
    """Where three planes are that are wanted, by name or number, in their order.

    Raises
    ------
    ConfigError
        They are not three of the planes.

    Examples
    --------
    >>> places_of(Labels((1, 2, 3), ("1 water", "2 roof", "3 soil")), ["soil", "1", "2 roof"])
    (2, 0, 1)
    """
    known = {name: n for n, name in enumerate(labels.names)}
    known |= {str(number): n for n, number in enumerate(labels.numbers)}
    plain = (name.partition(" ")[2] if name.startswith(f"{m} ") else name for m, name in
             zip(labels.numbers, labels.names, strict=True))  # fmt: skip
    known |= {name: n for n, name in enumerate(plain)}
    found = tuple(known[name] for name in wanted if name in known)
    if len(found) != len(CHANNELS) or len(wanted) != len(CHANNELS):
        raise ConfigError(f"a composite is of three of {', '.join(labels.names)}, not of {', '.join(wanted) or 'none'}")
    return found


def chosen_of(labels: Labels, means: Sequence[float], wanted: Sequence[str] | None) -> tuple[int, ...]:
    """Where the three planes are that are wanted; where a map has others, those with the largest means."""
    with suppress(ConfigError):
        return places_of(labels, wanted or ())
    return largest(means)


def require_composite(maps: Iterable[Labels], wanted: Sequence[str] | None) -> None:
    """Refuse three names that no map of fractions has."""
    errors = []
    for labels in maps if wanted is not None else ():
        try:
            places_of(labels, wanted or ())
            return
        except ConfigError as error:
            errors.append(error)
    if wanted is not None:
        raise errors[0] if errors else ConfigError("a composite is of three fractions, and this run has none")


def composite(planes: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(y, x, 4) RGBA of three fractions (3, y, x): black where there is none of them, clear where no data.

    Examples
    --------
    >>> composite(np.array([[[0.5]], [[0.0]], [[1.2]]])).tolist()
    [[[128, 0, 255, 255]]]
    """
    good = np.isfinite(planes).all(axis=0)
    rgba = np.zeros((*good.shape, 4), np.uint8)
    rgba[good, :3] = (planes[:, good].clip(0, 1) * 255 + 0.5).T
    rgba[..., 3] = good * 255
    return rgba


def channels(names: Sequence[str], planes: Sequence[int]) -> Mapping[str, str]:
    """The colour of each of the names at these places.

    Examples
    --------
    >>> channels(["litter", "plant", "road", "soil"], (1, 2, 3))
    {'plant': '#ff0000', 'road': '#00ff00', 'soil': '#0000ff'}
    """
    return {names[plane]: colour for plane, colour in zip(planes, CHANNELS.values(), strict=True)}


def virtual_raster(file: str, grid: Grid, names: Sequence[str], planes: Sequence[int]) -> str:
    """GDAL's XML of a picture that is made of three bands of a GeoTIFF beside it when it is opened; 0 is no data."""
    height, width = grid.shape
    bands = "".join(
        f"""
  <VRTRasterBand dataType="Byte" band="{number}">
    <Description>{xml_text(names[plane])}</Description>
    <NoDataValue>0</NoDataValue>
    <ColorInterp>{colour.capitalize()}</ColorInterp>
    <ComplexSource>
      <SourceFilename relativeToVRT="1">{xml_text(file)}</SourceFilename>
      <SourceBand>{plane + 1}</SourceBand>
      <NODATA>nan</NODATA>
      <LUT>0:1,1:255</LUT>
    </ComplexSource>
  </VRTRasterBand>"""
        for number, (colour, plane) in enumerate(zip(CHANNELS, planes, strict=True), 1)
    )
    transform = ", ".join(f"{value:.17g}" for value in _geotransform(grid.transform))
    return f"""<VRTDataset rasterXSize="{width}" rasterYSize="{height}">
  <SRS>{xml_text(grid.crs)}</SRS>
  <GeoTransform>{transform}</GeoTransform>{bands}
</VRTDataset>
"""


def _geotransform(affine: Sequence[float]) -> tuple[float, ...]:
    """GDAL's order of the six numbers."""
    a, b, c, d, e, f, *_ = affine
    return c, a, b, f, d, e
