"""Endmember extraction from sampled pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.extractors.registry import DEFAULT, EXTRACTORS
from hsi_dask.extractors.specification import Extractor
from hsi_dask.parameters import filled
from hsi_dask.schema import (
    ENDMEMBER,
    MAX_ENDMEMBERS,
    PIXEL,
    WAVELENGTH,
    describe,
    describe_coordinates,
    require_dims,
)


def find_endmembers(
    pixels: xr.DataArray, count: int, *, method: str = DEFAULT, seed: int = 0, **options: Any
) -> xr.DataArray:
    """The `count` purest spectra among pixels, by N-FINDR or another extractor.

    Parameters
    ----------
    pixels : (pixel, wavelength) reflectance without missing values, as from `sample_pixels`.
    count : how many endmembers, 1 to 254. One endmember is, for N-FINDR, the brightest pixel.
    method : "nfindr" (the simplex of largest volume), "vca", "spa", "atgp", "ppi", "fippi", or where no pixel is pure
        "minimum_volume".
    seed : of what is random in a method; the order of the pixels does not matter to N-FINDR.
    options : the method's parameters, such as `restarts` of N-FINDR: independent searches, the largest volume is kept.

    Returns
    -------
    (endmember, wavelength) float32, endmembers numbered from 1; where they are pixels, with the pixels' own coordinates
    (`y`, `x`, `row`, `column`, `tile`). attrs: the method, its options and diagnostics, of N-FINDR `volume` of the
    simplex and `volumes` of every restart; where they differ much, another seed may give other endmembers: ask for
    fewer, or for more restarts.

    Raises
    ------
    EndmemberError : fewer pixels than endmembers, a missing value, or pixels that span fewer than count - 1
        dimensions.
    ConfigError : count, method or options out of range.

    References
    ----------
    Those of the extractors, in their files in `hsi_dask.extractors`; Winter, M. E. (1999). N-FINDR: an algorithm for
    fast autonomous spectral end-member determination in hyperspectral data. Proc. SPIE 3753.
    """
    extractor, chosen_options = _extractor(method, options)
    if not 1 <= count <= MAX_ENDMEMBERS:
        raise ConfigError(f"count must be 1 to {MAX_ENDMEMBERS} endmembers, not {count}")
    if count < extractor.least:
        raise ConfigError(f"{extractor.name} finds {extractor.least} endmembers or more, not {count}")
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
            found = extractor.extract(spectra, count, np.random.default_rng(seed), **chosen_options)
        except ValueError as error:
            raise error if isinstance(error, EndmemberError) else EndmemberError(str(error)) from error
    how = {"method": extractor.name, **chosen_options, "seed": seed, "pixels": len(spectra), **_told(found.diagnostics)}
    if found.indices is not None:
        chosen = pixels.isel({PIXEL: found.indices}).rename({PIXEL: ENDMEMBER}).drop_vars(ENDMEMBER, errors="ignore")
    else:
        spectral = {name: c.variable for name, c in pixels.coords.items() if c.dims == (WAVELENGTH,)}
        chosen = xr.DataArray(found.spectra, spectral, (ENDMEMBER, WAVELENGTH))
    chosen = chosen.astype(np.float32).assign_coords({ENDMEMBER: np.arange(1, count + 1)})
    describe_coordinates({k: v.variable for k, v in chosen.coords.items()})
    return describe(chosen, "endmembers", **how)


def _extractor(name: str, options: Mapping[str, Any]) -> tuple[Extractor, dict[str, Any]]:
    if name not in EXTRACTORS.specifications and name not in EXTRACTORS.broken:
        raise ConfigError(f"method must be {' or '.join(map(repr, EXTRACTORS.specifications))}, not {name!r}")
    extractor = EXTRACTORS.get(name)
    return extractor, filled(extractor.parameters, options, name)


def _told(diagnostics: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and flat lists, as netCDF, Zarr and JSON can hold them."""
    plain = {name: np.asarray(value) for name, value in diagnostics.items()}
    return {name: value.tolist() for name, value in plain.items() if value.ndim < 2}
