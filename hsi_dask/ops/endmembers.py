"""Endmember extraction from sampled pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsi_dask.errors import ConfigError, EndmemberError, counted
from hsi_dask.extractors.registry import DEFAULT, EXTRACTORS, of_every_pixel
from hsi_dask.extractors.specification import Extractor
from hsi_dask.kernels.extraction.extracted import Extracted
from hsi_dask.kernels.support import NEIGHBOURS
from hsi_dask.kernels.support import robust as robust_extraction
from hsi_dask.ops.sampling import sample_pixels
from hsi_dask.parameters import filled
from hsi_dask.schema import (
    CUBE_DIMS,
    ENDMEMBER,
    MAX_ENDMEMBERS,
    PIXEL,
    WAVELENGTH,
    X,
    Y,
    describe,
    describe_coordinates,
    members_attrs,
    require_dims,
    require_labels,
)


def find_endmembers(
    pixels: xr.DataArray, count: int, *, method: str = DEFAULT, robust: bool = True, seed: int = 0, **options: Any
) -> xr.DataArray:
    """The `count` purest spectra among pixels, by N-FINDR or another extractor.

    Parameters
    ----------
    pixels : (pixel, wavelength) reflectance without missing values, as from `sample_pixels`; or for "nfindr" a whole
        cube (y, x, wavelength) as in `map_materials`: see Notes.
    count : how many endmembers, 1 to 254. One endmember is, for N-FINDR, the brightest pixel.
    method : "nfindr" (the simplex of largest volume), "vca", "spa", "atgp", "ppi", "fippi", or where no pixel is pure
        "minimum_volume".
    robust : drop pixels that stand alone (whose tenth nearest is more than four times as far as is usual) and search
        again, and take for each endmember the mean of the ten pixels most like it. False is the textbook's method.
    seed : of what is random in a method; the order of the pixels does not matter to N-FINDR.
    options : the method's parameters, such as `restarts` of N-FINDR: independent searches, the largest volume is kept.

    Returns
    -------
    (endmember, wavelength) float32, endmembers numbered from 1; where they are pixels, with the pixels' own coordinates
    (`y`, `x`, `row`, `column`, `tile`). attrs: the method, its options and diagnostics, of N-FINDR `volume` of the
    simplex and `volumes` of every restart; where they differ much, another seed may give other endmembers: ask for
    fewer, or for more restarts. Of means `members`, how many pixels each is the mean of, and of these, endmember by
    endmember, `members_angle` from the chosen one (rad) and their `members_y` and `members_x`.

    Raises
    ------
    EndmemberError : fewer pixels than endmembers, a missing value, or pixels that span fewer than count - 1
        dimensions.
    ConfigError : count, method or options out of range.

    Notes
    -----
    Of a cube, endmembers are first found among 20 000 of its pixels. Then all its pixels are looked at, and exchanged
    for a vertex where that enlarges the simplex, until none does; a pixel that stands alone among all of them is no
    vertex if `robust`. The attribute `certificate` says so. The simplex is that of the sample's principal subspace. The
    cube is read twice; beside it 84 bytes a pixel are kept, above 1 GiB in a temporary file.

    References
    ----------
    Those of the extractors, in their files in `hsi_dask.extractors`; Winter, M. E. (1999). N-FINDR: an algorithm for
    fast autonomous spectral end-member determination in hyperspectral data. Proc. SPIE 3753.
    """
    extractor, chosen_options = _extractor(method, options)
    if not 1 <= count <= MAX_ENDMEMBERS:
        raise ConfigError(f"count must be 1 to {MAX_ENDMEMBERS} endmembers, not {count}")
    if count < extractor.least:
        raise ConfigError(f"{extractor.name} finds {counted(extractor.least, 'endmember')} or more, not {count}")
    if {Y, X} <= set(require_labels(pixels, (PIXEL, WAVELENGTH), "pixels").dims):
        return _among_all(require_dims(pixels, CUBE_DIMS, "the cube"), count, extractor.name, robust, seed, options)
    pixels = require_dims(pixels, (PIXEL, WAVELENGTH), "pixels")
    spectra = np.asarray(pixels, dtype=np.float64 if pixels.dtype == np.float64 else np.float32)
    if not np.isfinite(spectra).all():
        raise EndmemberError("pixels have missing values; drop them, or take them from sample_pixels")
    if not (lit := spectra.any(axis=1)).all():  # no spectrum
        pixels, spectra = pixels.isel({PIXEL: lit}), spectra[lit]
    if len(spectra) < count:
        raise EndmemberError(f"{count} endmembers need as many pixels, but the sample has {len(spectra)}; sample more")
    with threadpool_limits(1, user_api="blas"):  # thin products: more threads only wait for each other
        try:
            found = _extracted(extractor, spectra, count, np.random.default_rng(seed), robust, chosen_options)
        except ValueError as error:
            raise error if isinstance(error, EndmemberError) else EndmemberError(str(error)) from error
    how = {
        "method": extractor.name, **{name: value for name, value in chosen_options.items() if value is not None},
        "robust": int(found.indices is not None and found.spectra is not None), "seed": seed, "pixels": len(spectra),
        **_told(found.diagnostics),
    }  # fmt: skip
    if found.indices is not None:
        chosen = pixels.isel({PIXEL: found.indices}).rename({PIXEL: ENDMEMBER}).drop_vars(ENDMEMBER, errors="ignore")
        if found.spectra is not None:
            chosen = chosen.copy(data=found.spectra.astype(np.float32))
            how |= _dropped_places(pixels, found.diagnostics["dropped"])
            members = found.diagnostics["members"]
            places = {dim: pixels[dim].values[members] for dim in (Y, X) if dim in pixels.coords}
            how |= members_attrs(found.diagnostics["angles"], places)
    else:
        spectral = {name: c.variable for name, c in pixels.coords.items() if c.dims == (WAVELENGTH,)}
        chosen = xr.DataArray(found.spectra, spectral, (ENDMEMBER, WAVELENGTH))
    return _numbered(chosen, how)


def _numbered(chosen: xr.DataArray, how: Mapping[str, Any]) -> xr.DataArray:
    chosen = chosen.astype(np.float32).assign_coords({ENDMEMBER: np.arange(1, chosen.sizes[ENDMEMBER] + 1)})
    describe_coordinates({k: v.variable for k, v in chosen.coords.items()})
    return describe(chosen, "endmembers", **how)


def _among_all(
    cube: xr.DataArray, count: int, method: str, robust: bool, seed: int, options: Mapping[str, Any]
) -> xr.DataArray:
    """Endmembers among all pixels of a cube, beginning with those of a sample."""
    if count < 2 or not EXTRACTORS.get(method).every_pixel:
        raise ConfigError(
            f"a whole cube is searched by {of_every_pixel()} for 2 endmembers or more, not by {method} for {count}; "
            f"give it pixels from sample_pixels"
        )
    from hsi_dask.ops import whole_scene

    sample = sample_pixels(cube, whole_scene.SAMPLE, seed=seed)
    first = find_endmembers(sample, count, method=method, robust=robust, seed=seed, **options)
    robust = bool(first.attrs["robust"])
    rows, columns = (np.asarray(sample[name]) for name in ("row", "column"))
    chosen = [
        int(np.flatnonzero((rows == row) & (columns == column))[0])
        for row, column in zip(first["row"].values, first["column"].values, strict=True)
    ]
    with threadpool_limits(1, user_api="blas"):  # the same digits whatever the number of threads
        found = whole_scene.search_cube(cube, sample, np.array(chosen), seed=seed, robust=robust)
    how = whole_scene.told(found, first, sample, whole_scene.places_in(cube))
    return _numbered(whole_scene.endmembers_of(cube, sample, found).rename({PIXEL: ENDMEMBER}), how)


def _extracted(
    extractor: Extractor,
    spectra: NDArray[Any],
    count: int,
    rng: np.random.Generator,
    robust: bool,
    options: Mapping[str, Any],
) -> Extracted:
    """Endmembers by the extractor; robust where its endmembers are pixels and there are enough of them."""
    if not robust or not extractor.of_pixels or len(spectra) < max(NEIGHBOURS, count):
        return extractor.extract(spectra, count, rng, **options)

    def again(some: NDArray[Any], number: int, numbers: np.random.Generator) -> Extracted:
        return extractor.extract(some, number, numbers, **options)

    return robust_extraction(spectra, count, rng, extract=again)


def _dropped_places(pixels: xr.DataArray, dropped: NDArray[np.intp]) -> dict[str, list[float]]:
    """Where the pixels are that were dropped."""
    known = [name for name in ("y", "x") if name in pixels.coords]
    return {f"dropped_{name}": pixels[name].values[dropped].tolist() for name in known}


def _extractor(name: str, options: Mapping[str, Any]) -> tuple[Extractor, dict[str, Any]]:
    if name not in EXTRACTORS.specifications and name not in EXTRACTORS.broken:
        raise ConfigError(f"method must be {' or '.join(map(repr, EXTRACTORS.specifications))}, not {name!r}")
    extractor = EXTRACTORS.get(name)
    return extractor, filled(extractor.parameters, options, name)


def _told(diagnostics: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and flat lists, as netCDF, Zarr and JSON can hold them."""
    plain = {name: np.asarray(value) for name, value in diagnostics.items()}
    return {name: value.tolist() for name, value in plain.items() if value.ndim < 2}
