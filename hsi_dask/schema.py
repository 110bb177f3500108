"""The vocabulary: dimension names, one specification per variable, and the checks that need nothing else."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError, SchemaError

Y, X, WAVELENGTH, ENDMEMBER, PIXEL = "y", "x", "wavelength", "endmember", "pixel"
NAME, MATERIAL = (
    "name",
    "material",
)  # of endmembers: a coordinate each; fractions of a library have one plane a material
CUBE_DIMS = (Y, X, WAVELENGTH)
GRID_MAPPING = "spatial_ref"

FLOOR = 1e-4  # reflectance of one digital number: the divergence needs positive values
UNCLASSIFIED, NO_CLASS = 0, 255  # class values beside 1..n
MAX_ENDMEMBERS = 254  # classes are uint8 and 255 means no data

SAME_WAVELENGTH = 0.01  # nm, a thousandth of a width: more is another grid (sites and years differ by up to 2 nm)
# Between these, nm, water vapour leaves no light: noise. The windows of every NEON file, for files that declare none
WATER_VAPOUR_WINDOWS = ((1340.0, 1445.0), (1790.0, 1955.0))

# Why a pixel is masked: one bit of `quality` each. `outside` is outside the area of interest, of runs that have one;
# `not_modelled` is of methods whose models may all miss a pixel, in a map of its own
FLAGS = {
    "no_data": 1, "cloud": 2, "shadow": 4, "saturated": 8, "negative": 16,
    "water": 32, "vegetation": 64, "not_vegetation": 128, "outside": 256, "not_modelled": 512,
}  # fmt: skip


Role = Literal[
    "fraction", "score", "class", "residual", "uncertainty", "shade", "model", "flag", "reflectance", "change"
]


@dataclass(frozen=True)
class Variable:
    """What a variable is: its dimensions, dtype, units, CF attributes, and by its role how it is drawn and summed up.

    Attributes
    ----------
    role : fraction (of a pixel's area), score (how alike), class (numbers of endmembers), residual, uncertainty (of the
        variable it is `of`), shade, model (numbers of library spectra), flag (bits), reflectance, change (of the
        variable it is `of`, between two runs: a difference, or whole numbers that its attributes explain)
    better : of a score, which end is more alike
    of : of a class map the fraction or score whose best it shows; of an uncertainty what it belongs to
    limits : values that maps are drawn between; None takes what occurs
    stored_share : compressed bytes of a byte, on the high side, for projecting the disk space a run takes
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    long_name: str
    units: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict, compare=False)
    role: Role = "reflectance"
    better: Literal["low", "high"] | None = None
    of: str | None = None
    limits: tuple[float, float] | None = None
    stored_share: float = 0.95

    @property
    def fill_value(self) -> float | int:
        """No-data value on disk: NaN for floats, 255 for classes, -1 for models; quality says no_data."""
        return FLAGS["no_data"] if self.role == "flag" else no_data_value(np.dtype(self.dtype))


def no_data_value(dtype: np.dtype[Any]) -> float | int:
    """What means no data in a map of this dtype: NaN, in bytes 255, in other integers -1."""
    if dtype.kind == "f":
        return float("nan")
    return NO_CLASS if dtype.itemsize == 1 else -1


MAP_DIMS, CLASS_DIMS = (ENDMEMBER, Y, X), (Y, X)


def flag_variable(name: str, dtype: str, long_name: str, flags: Sequence[str]) -> Variable:
    """A map (y, x) of these of the `FLAGS`; 0 where none is set."""
    bits = np.array([FLAGS[flag] for flag in flags], dtype)
    attrs = {"standard_name": "quality_flag", "flag_masks": bits, "flag_meanings": " ".join(flags)}
    return Variable(name, (Y, X), dtype, long_name, role="flag", stored_share=0.1, attrs=attrs)


def flags_of(variable: Variable) -> dict[str, int]:
    """Name in words and bit of every flag of a map but "no data"."""
    names = str(variable.attrs["flag_meanings"]).split()
    return {name.replace("_", " "): FLAGS[name] for name in names if name != "no_data"}


def with_all_flags(variable: Variable) -> Variable:
    """A map of flags of which it is not known which it can have."""
    fits = [name for name, bit in FLAGS.items() if bit <= np.iinfo(variable.dtype).max]
    return flag_variable(variable.name, variable.dtype, variable.long_name, fits)


_MASKS = [name for name, bit in FLAGS.items() if bit < FLAGS["outside"]]
_WHY = "why a pixel is masked; 0 is good"
QUALITY = flag_variable("quality", "uint8", _WHY, _MASKS)
QUALITY_OF_AREA = flag_variable("quality", "uint16", _WHY, [*_MASKS, "outside"])  # of runs with an area of interest
QUICKLOOK = Variable("quicklook", (WAVELENGTH, Y, X), "float32", "surface reflectance, four wavelengths", "1")
# Variables that are no method's
VARIABLES: dict[str, Variable] = {
    v.name: v
    for v in (
        Variable("reflectance", CUBE_DIMS, "float32", "surface reflectance", "1"),
        Variable("endmembers", (ENDMEMBER, WAVELENGTH), "float32", "endmember reflectance", "1"),
        QUALITY,
        QUICKLOOK,
    )
}

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
    "good_wavelength": {"long_name": "not marked bad, and outside the water-vapour windows"},
    ENDMEMBER: {"long_name": "endmember number, equal to its class value"},
    NAME: {"long_name": "name of the endmember"},
    MATERIAL: {"long_name": "material"},
}


def describe(array: xr.DataArray, variable: Variable | str, **attrs: Any) -> xr.DataArray:
    """The array under its contract name with the contract's attributes and nothing inherited.

    Examples
    --------
    >>> describe(xr.DataArray(np.zeros((2, 2), "uint8"), dims=("y", "x")), "quality").attrs["standard_name"]
    'quality_flag'
    """
    spec = VARIABLES[variable] if isinstance(variable, str) else variable
    if array.dims != spec.dims or array.dtype != np.dtype(spec.dtype):
        raise SchemaError(f"{spec.name} must be {spec.dtype} {spec.dims}, not {array.dtype} {array.dims}")
    array = array.copy(deep=False).rename(spec.name)
    array.attrs = variable_attrs(spec) | attrs
    return array


def variable_attrs(spec: Variable) -> dict[str, Any]:
    """The attributes that an array of this variable has."""
    return {"long_name": spec.long_name, **({"units": spec.units} if spec.units else {}), **spec.attrs}


def describe_coordinates(coords: Mapping[Hashable, xr.Variable]) -> None:
    """Give the coordinates we know their CF attributes, in place; existing attributes win."""
    for name, attrs in _COORDINATES.items():
        if name in coords:
            coords[name].attrs = attrs | coords[name].attrs


def members_attrs(angles: NDArray[Any], places: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What attributes of endmembers say of the pixels that they are the means of, endmember by endmember.

    Parameters
    ----------
    angles : (endmember, member) of these pixels from the chosen one, rad.
    places : by dimension their coordinates, where they are known.
    """
    flat = {f"members_{name}": values.ravel().tolist() for name, values in {"angle": angles, **places}.items()}
    return {"members": angles.shape[1], **flat}


def class_attrs(numbers: Sequence[int], names: Sequence[str] | None = None) -> dict[str, Any]:
    """CF flag attributes of a class map over endmembers with these numbers.

    Examples
    --------
    >>> class_attrs([1, 3], ["water", "dry grass"])["flag_meanings"]
    'unclassified water dry_grass'
    """
    words = names or [f"endmember_{number}" for number in numbers]
    meanings = ["unclassified", *("_".join(str(word).split()) or "unnamed" for word in words)]
    return {"flag_values": np.array([UNCLASSIFIED, *numbers], "uint8"), "flag_meanings": " ".join(meanings)}


def endmember_numbers(endmembers: xr.DataArray) -> NDArray[np.int64]:
    """The number of each endmember, which is its class value: its coordinate, or 1 to n where that is none of numbers.

    Raises
    ------
    EndmemberError
        Numbers that are not whole, twice, or outside 1 to 254.
    """
    count = endmembers.sizes[ENDMEMBER]
    if ENDMEMBER not in endmembers.coords or endmembers[ENDMEMBER].dtype.kind not in "iuf":
        return np.arange(1, count + 1)
    numbers = np.asarray(endmembers[ENDMEMBER])
    whole = numbers.astype(np.int64)
    if (whole != numbers).any() or len(set(whole.tolist())) < count or whole.min() < 1:
        raise EndmemberError(
            f"the endmember coordinate is {numbers.tolist()}; it must be whole numbers from 1 on, each once"
        )
    return whole


def endmember_names(endmembers: xr.DataArray) -> list[str] | None:
    """Names of endmembers: the coordinate `name`, the attribute `names`, or a coordinate of text; None without any."""
    if NAME in endmembers.coords and endmembers[NAME].dims == (ENDMEMBER,):
        return [str(name) for name in endmembers[NAME].values]
    names = endmembers.attrs.get("names")
    if names is not None and len(names) == endmembers.sizes[ENDMEMBER]:
        return [str(name) for name in names]
    if ENDMEMBER in endmembers.coords and endmembers[ENDMEMBER].dtype.kind in "OUT":
        return [str(name) for name in endmembers[ENDMEMBER].values]
    return None


def endmember_materials(endmembers: xr.DataArray) -> list[str] | None:
    """The material of each endmember, None where they have none."""
    if MATERIAL not in endmembers.coords or endmembers[MATERIAL].dims != (ENDMEMBER,):
        return None
    materials = [str(material) for material in endmembers[MATERIAL].values]
    if all(materials) or not any(materials):
        return materials if any(materials) else None
    number = endmember_numbers(endmembers)[materials.index("")]
    raise EndmemberError(f"endmember {number} has no material, but others have; name one for each, or for none")


def require_labels(array: Any, dims: tuple[str, ...], what: str) -> xr.DataArray:
    """The array itself, if it is labelled, else SchemaError."""
    if isinstance(array, xr.DataArray):
        labelled: xr.DataArray = array
        return labelled
    if isinstance(array, xr.Dataset):
        raise SchemaError(
            f"{what} came as a Dataset; give one of its variables: {', '.join(map(str, array.data_vars))}"
        )
    kind = {"ndarray": "a numpy array"}.get(type(array).__name__, f"a {type(array).__name__}")
    if dims == CUBE_DIMS and len(getattr(array, "shape", dims)) == 2:
        dims = (PIXEL, WAVELENGTH)  # a row each, as of a table
    is_table = hasattr(array, "columns")
    nm = "values.columns.astype(float)" if is_table else "nm"
    coords = f', coords={{"wavelength": {nm}}}' if WAVELENGTH in dims else ""
    raise SchemaError(
        f"{what} came as {kind}, which has no labels; make it an xarray.DataArray first: "
        f"xr.DataArray({'values.to_numpy()' if is_table else 'values'}, dims=({', '.join(map(repr, dims))}){coords})"
    )


def require_dims(array: Any, dims: tuple[str, ...], what: str) -> xr.DataArray:
    """The array with exactly these dimensions in this order (transposed if need be), else SchemaError."""
    labelled = require_labels(array, dims, what)
    if set(labelled.dims) != set(dims):
        raise SchemaError(f"{what} must have the dimensions {dims}, not {tuple(map(str, labelled.dims))}")
    return labelled.transpose(*dims)


def require_pixels(array: xr.DataArray) -> xr.DataArray:
    """The array, if it has a pixel, else SchemaError."""
    if 0 in (array.sizes.get(Y, 1), array.sizes.get(X, 1)):
        raise SchemaError(
            "no pixel is selected; y descends where north is up, so that a slice of it goes from north to south: "
            "slice(north, south)"
        )
    return array


def require_wavelengths(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    """Refuse endmembers that are not on the cube's wavelengths (to 0.01 nm) or are not finite."""
    for what, array in (("the cube", cube), ("endmembers", endmembers)):
        if WAVELENGTH not in array.coords:
            raise SchemaError(f"{what} has no wavelength coordinate; assign one in nm before unmixing")
    mine, theirs = np.asarray(cube[WAVELENGTH]), np.asarray(endmembers[WAVELENGTH])
    if mine.size != theirs.size:
        raise EndmemberError(
            f"endmembers have {theirs.size} wavelengths, the cube {mine.size}; bring them to the cube's with "
            "resample_endmembers, or call select_bands on both if they are of one sensor"
        )
    if (apart := np.abs(mine - theirs)).size and apart.max() > SAME_WAVELENGTH:
        at = int(apart.argmax())
        raise EndmemberError(
            f"endmembers are on other wavelengths than the cube ({theirs[at]:.2f} nm where the cube has "
            f"{mine[at]:.2f} nm); resample them to the cube's wavelengths first"
        )
