"""The vocabulary: dimension names, one specification per variable, and the checks that need nothing else."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from hsi_dask.errors import EndmemberError, SchemaError

Y, X, WAVELENGTH, ENDMEMBER, PIXEL = "y", "x", "wavelength", "endmember", "pixel"
CUBE_DIMS = (Y, X, WAVELENGTH)
GRID_MAPPING = "spatial_ref"

FLOOR = 1e-4  # reflectance of one digital number: the divergence needs positive values
UNCLASSIFIED, NO_CLASS = 0, 255  # class values beside 1..n
MAX_ENDMEMBERS = 254  # classes are uint8 and 255 means no data

# Why a pixel is masked: one bit of `quality` each
FLAGS = {
    "no_data": 1, "cloud": 2, "shadow": 4, "saturated": 8, "negative": 16,
    "water": 32, "vegetation": 64, "not_vegetation": 128,
}  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """What a variable is: its dimensions, dtype, units and CF attributes."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    long_name: str
    units: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fill_value(self) -> float | int:
        """No-data value on disk: NaN for floats, 255 for classes; quality says no_data."""
        if np.dtype(self.dtype).kind == "f":
            return float("nan")
        return FLAGS["no_data"] if self.name == "quality" else NO_CLASS


_MAPS = (ENDMEMBER, Y, X)
VARIABLES: dict[str, Variable] = {
    v.name: v
    for v in (
        Variable("reflectance", CUBE_DIMS, "float32", "surface reflectance", "1"),
        Variable("endmembers", (ENDMEMBER, WAVELENGTH), "float32", "endmember reflectance", "1"),
        Variable("abundance", _MAPS, "float32", "abundance of the endmember (fully constrained)", "1"),
        Variable("residual", (Y, X), "float32", "root mean square error of the unmixing fit", "1"),
        Variable("sam_angle", _MAPS, "float32", "spectral angle to the endmember", "radian"),
        Variable("sid_divergence", _MAPS, "float32", "information divergence from the endmember", "nat"),
        Variable("sam_class", (Y, X), "uint8", "endmember of the smallest spectral angle"),
        Variable("sid_class", (Y, X), "uint8", "endmember of the smallest spectral information divergence"),
        Variable("quality", (Y, X), "uint8", "why a pixel is masked; 0 is good", attrs={
            "standard_name": "quality_flag",
            "flag_masks": np.array(list(FLAGS.values()), "uint8"),
            "flag_meanings": " ".join(FLAGS),
        }),
        Variable("quicklook", (WAVELENGTH, Y, X), "float32", "surface reflectance, four wavelengths", "1"),
    )
}  # fmt: skip

_COORDINATES: dict[str, dict[str, str]] = {
    Y: {
        "standard_name": "projection_y_coordinate",
        "long_name": "northing of the pixel centre",
        "units": "m",
        "axis": "Y",
    },
    X: {
        "standard_name": "projection_x_coordinate",
        "long_name": "easting of the pixel centre",
        "units": "m",
        "axis": "X",
    },
    WAVELENGTH: {"standard_name": "radiation_wavelength", "long_name": "centre wavelength", "units": "nm"},
    "fwhm": {"long_name": "full width at half maximum of the band", "units": "nm"},
    "good_wavelength": {"long_name": "outside the water-vapour windows"},
    ENDMEMBER: {"long_name": "endmember number, equal to its class value"},
}


def describe(array: xr.DataArray, name: str, **attrs: Any) -> xr.DataArray:
    """The array under its contract name with the contract's attributes and nothing inherited.

    Examples
    --------
    >>> describe(xr.DataArray(np.zeros((2, 2), "float32"), dims=("y", "x")), "residual").attrs["units"]
    '1'
    """
    spec = VARIABLES[name]
    if array.dims != spec.dims or array.dtype != np.dtype(spec.dtype):
        raise SchemaError(f"{name} must be {spec.dtype} {spec.dims}, not {array.dtype} {array.dims}")
    array = array.copy(deep=False).rename(name)
    array.attrs = {
        "long_name": spec.long_name,
        **({"units": spec.units} if spec.units else {}),
        **spec.attrs,
        **attrs,
    }
    return array


def describe_coordinates(coords: Mapping[Hashable, xr.Variable]) -> None:
    """Give the coordinates we know their CF attributes, in place; existing attributes win."""
    for name, attrs in _COORDINATES.items():
        if name in coords:
            coords[name].attrs = attrs | coords[name].attrs


def class_attrs(count: int) -> dict[str, Any]:
    """CF flag attributes of a class map over endmembers 1..count."""
    meanings = " ".join(["unclassified", *(f"endmember_{i}" for i in range(1, count + 1))])
    return {"flag_values": np.arange(count + 1, dtype="uint8"), "flag_meanings": meanings}


def require_dims(array: xr.DataArray, dims: tuple[str, ...], what: str) -> xr.DataArray:
    """The array with exactly these dimensions in this order (transposed if need be), else SchemaError."""
    if set(array.dims) != set(dims):
        raise SchemaError(f"{what} must have the dimensions {dims}, not {tuple(map(str, array.dims))}")
    return array.transpose(*dims)


def require_wavelengths(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    """Refuse endmembers that are not on the cube's wavelengths (to 0.01 nm) or are not finite."""
    for what, array in (("the cube", cube), ("endmembers", endmembers)):
        if WAVELENGTH not in array.coords:
            raise SchemaError(f"{what} has no wavelength coordinate; assign one in nm before unmixing")
    mine, theirs = np.asarray(cube[WAVELENGTH]), np.asarray(endmembers[WAVELENGTH])
    if mine.size != theirs.size:
        raise EndmemberError(
            f"endmembers have {theirs.size} wavelengths, the cube {mine.size}; call select_bands on both"
        )
    # 0.01 nm is a thousandth of a band's width: more is another grid (sites and years differ by up to 2 nm)
    if (apart := np.abs(mine - theirs)).size and apart.max() > 0.01:
        at = int(apart.argmax())
        raise EndmemberError(
            f"endmembers are on other wavelengths than the cube ({theirs[at]:.2f} nm where the cube has "
            f"{mine[at]:.2f} nm); resample them to the cube's wavelengths first"
        )
