"""A tile as its reader found it: where its pixels are, how they are stored, and what the file says of itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.errors import FileFormatError, GridError
from hsi_dask.io import crs as reference
from hsi_dask.io.blocks import StoredCube
from hsi_dask.io.decoding import Reflectance
from hsi_dask.io.layers import USUAL_NAMES, Layer, ReadLayers, Role, no_layers
from hsi_dask.io.variables import stored_variable
from hsi_dask.schema import CUBE_DIMS, GRID_MAPPING, WATER_VAPOUR_WINDOWS, WAVELENGTH, X, Y

logger = logging.getLogger(__name__)

_NARROW = 4  # bytes: integers up to these are computed with as they are stored


@dataclass(frozen=True, eq=False, kw_only=True)
class TileSource:
    """What a file of reflectance holds, without its pixels. Pickles; no handle inside.

    Attributes
    ----------
    path : absolute
    reflectance : the cube (y, x, wavelength) as stored: reflectance x `scale_factor`, no data `fill_value`
    wavelength, fwhm : (L,) float64, nm, wavelengths ascending; a width the file does not give is NaN
    bad : (L,) bool, what the file itself marks as unusable
    windows : (low, high) of the water-vapour windows, nm; the usual ones where `own_windows` is False
    crs : "EPSG:n" or WKT, projected or geographic
    west, north : outer edges of the north-west pixel, in the CRS's units; rows go south, columns east
    resolution : (x, y) of a pixel, both positive
    site, product, dates, visit, flight_lines : as far as the file tells; dates such as "2022-06-23", a visit such as
        "2022_SERC_6"
    release, citation : of the data, as far as what lies beside the file tells: "RELEASE-2026", and how to cite them
    remarks : the file's own words by what they are about
    layer_names, layers : the maps beside the cube, and the function that reads what the file says about them
    layer_roles : what some of them mean, whatever the sensor calls them: names of layers by their roles
    notes : one sentence for everything that was missing and how it was replaced
    reader : the name of the reader
    file_size, mtime_ns : identity, by which a changed file is noticed; the reader's business where a tile is a folder
    """

    path: str
    reflectance: StoredCube
    wavelength: NDArray[np.float64] = field(repr=False)
    crs: str
    west: float
    north: float
    resolution: tuple[float, float]
    fwhm: NDArray[np.float64] | None = field(default=None, repr=False)
    bad: NDArray[np.bool_] | None = field(default=None, repr=False)
    scale_factor: float = 1.0
    fill_value: float | None = None
    windows: tuple[tuple[float, float], ...] = WATER_VAPOUR_WINDOWS
    own_windows: bool = False
    site: str = ""
    level: str = ""
    product: str = ""
    product_inferred: bool = False
    dates: tuple[str, ...] = ()
    visit: str = ""
    flight_lines: tuple[str, ...] = ()
    release: str = ""
    citation: str = ""
    remarks: Mapping[str, str] = field(default_factory=dict)
    layer_names: tuple[str, ...] = field(default=(), repr=False)
    layers: ReadLayers = field(default=no_layers, repr=False)
    layer_roles: Mapping[Role, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    reader: str = ""
    file_size: int = 0
    mtime_ns: int = 0

    def told(self) -> TileSource:
        """Itself, with its notes in the log."""
        for note in self.notes:
            logger.info("%s: %s", self.path, note)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return self.reflectance.shape

    @property
    def epsg(self) -> int | None:
        return reference.epsg(self.crs)

    @property
    def transform(self) -> reference.Transform:
        """Affine coefficients (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f."""
        return self.resolution[0], 0.0, self.west, 0.0, -self.resolution[1], self.north

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges (west, south, east, north)."""
        (rows, columns), (dx, dy) = self.shape[:2], self.resolution
        return self.west, self.north - rows * dy, self.west + columns * dx, self.north

    @property
    def good_wavelength(self) -> NDArray[np.bool_]:
        """(L,) bool: not bad, and outside the water-vapour windows, whose ends belong to them."""
        good = np.ones(self.wavelength.size, dtype=bool) if self.bad is None else ~self.bad
        for low, high in self.windows:
            good &= (self.wavelength < low) | (self.wavelength > high)
        return good

    @property
    def years(self) -> tuple[str, ...]:
        """Of its dates, or of the visit."""
        told = {date[:4] for date in self.dates} or ({self.visit[:4]} if self.visit else set())
        return tuple(sorted(told))

    def cube(self, *, chunks: Any = "auto", masked: bool = False) -> xr.DataArray:
        """The lazy cube "reflectance" (y, x, wavelength) as `hsi_dask.open_cube` describes it; touches no file.

        masked : True: float32 reflectance, NaN where no data. False: the stored numbers, with `scale_factor` (to
            multiply with) and `_FillValue` in the attributes.
        """
        stored = self._decoded() if masked else self.reflectance
        variable, spec = stored_variable(CUBE_DIMS, stored, chunks), schema.VARIABLES["reflectance"]
        variable.attrs = {"long_name": spec.long_name, "units": spec.units, **spec.attrs, **self.provenance()}
        if not masked:
            variable.attrs["scale_factor"] = 1 / self.scale_factor
            if self.fill_value is not None:
                variable.attrs["_FillValue"] = stored.dtype.type(self.fill_value).item()
        return xr.Dataset({spec.name: variable}, self._coordinates())[spec.name]

    def numbers(self, *, chunks: Any = "auto") -> xr.DataArray:
        """The cube to compute with: integers as they are stored, or reflectance where floats or wide integers are."""
        dtype = self.reflectance.dtype
        return self.cube(chunks=chunks, masked=dtype.kind not in "iu" or dtype.itemsize > _NARROW)

    def layer_name(self, role: Role) -> str:
        """The name that the layer of this role has, or would have."""
        return self.layer_roles.get(role, USUAL_NAMES[role])

    def layer(self, role: Role) -> Layer | None:
        """The layer of this role, no pixel read; None where there is none on the cube's pixels."""
        name = self.layer_name(role)
        return self.layers([name]).maps.get(name)

    def provenance(self) -> dict[str, Any]:
        """Where the data come from: strings, numbers and flat lists, as netCDF, Zarr and JSON can hold them."""
        facts: dict[str, Any] = {
            "source": os.path.basename(self.path),
            "site": self.site,
            "product": self.product,
            "product_from": ("layout" if self.product_inferred else "file name") if self.product else "",
            "acquisition_dates": list(self.dates),
            "visit": self.visit,
            "release": self.release,
            "citation": self.citation,
            "flight_lines": list(self.flight_lines),
            "epsg": self.epsg,
            "water_vapour_windows": list(sum(self.windows, ())),  # nm: low, high, low, high
            "water_vapour_windows_from": ("file" if self.own_windows else "fallback") if self.windows else "",
            **self.remarks,
            "notes": list(self.notes),
        }
        return {name: value for name, value in facts.items() if value not in ([], "", None)}

    def _decoded(self) -> StoredCube:
        plain = self.reflectance.dtype == np.float32 and self.scale_factor == 1 and self.fill_value is None
        return self.reflectance if plain else Reflectance(self.reflectance, self.scale_factor, self.fill_value)

    def _coordinates(self) -> dict[Hashable, xr.Variable]:
        """Pixel centres, half a pixel inside the outer edge, so that tiles join; spectra; the CRS."""
        (rows, columns), (dx, dy) = self.shape[:2], self.resolution
        try:
            axes, mapping = reference.axis_attrs(self.crs), reference.grid_mapping(self.crs)
        except GridError as error:
            raise FileFormatError(f"{self.path}: {error}") from error
        fwhm = np.full(self.wavelength.size, np.nan) if self.fwhm is None else self.fwhm
        coordinates: dict[Hashable, xr.Variable] = {
            Y: xr.Variable(Y, self.north - (np.arange(rows) + 0.5) * dy, axes[Y]),
            X: xr.Variable(X, self.west + (np.arange(columns) + 0.5) * dx, axes[X]),
            WAVELENGTH: xr.Variable(WAVELENGTH, self.wavelength),
            "fwhm": xr.Variable(WAVELENGTH, fwhm),
            "good_wavelength": xr.Variable(WAVELENGTH, self.good_wavelength),
            GRID_MAPPING: xr.Variable((), 0, mapping),
        }
        schema.describe_coordinates(coordinates)
        return coordinates
