"""Endmember extraction from sampled pixels."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.kernels.nfindr import Simplex, nfindr
from hsi_dask.kernels.subspace import principal_subspace, reduce
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
    pixels: xr.DataArray,
    count: int,
    *,
    method: Literal["nfindr"] = "nfindr",
    restarts: int = 10,
    seed: int = 0,
) -> xr.DataArray:
    """The `count` pixels that span the largest simplex in their principal subspace (N-FINDR).

    Parameters
    ----------
    pixels : (pixel, wavelength) reflectance without missing values, as from `sample_pixels`.
    count : how many endmembers, 1 to 254. One endmember is the brightest pixel.
    method : "nfindr".
    restarts : independent searches; the largest volume is kept.
    seed : of the restarts; the order of the pixels does not matter.

    Returns
    -------
    (endmember, wavelength) float32, endmembers numbered from 1, with the pixels' own coordinates (`y`, `x`,
    `row`, `column`, `tile`). attrs: `volume` of the simplex and `volumes` of every restart; where they differ
    much, another seed may give other endmembers: ask for fewer, or for more restarts.

    Raises
    ------
    EndmemberError : fewer pixels than endmembers, a missing value, or pixels that span fewer than count - 1
        dimensions.
    ConfigError : count, restarts or method out of range.

    References
    ----------
    Winter, M. E. (1999). N-FINDR: an algorithm for fast autonomous spectral end-member determination in
    hyperspectral data. Proc. SPIE 3753.
    """
    if method != "nfindr":
        raise ConfigError(f"method must be 'nfindr', not {method!r}")
    if not 1 <= count <= MAX_ENDMEMBERS:
        raise ConfigError(f"count must be 1 to {MAX_ENDMEMBERS} endmembers, not {count}")
    if restarts < 1:
        raise ConfigError(f"restarts must be 1 or more, not {restarts}")
    pixels = require_dims(pixels, (PIXEL, WAVELENGTH), "pixels")
    spectra = np.asarray(pixels, dtype=np.float64 if pixels.dtype == np.float64 else np.float32)
    if len(spectra) < count:
        raise EndmemberError(f"{count} endmembers need as many pixels, but the sample has {len(spectra)}; sample more")
    if not np.isfinite(spectra).all():
        raise EndmemberError("pixels have missing values; drop them, or take them from sample_pixels")
    simplex = _largest_simplex(spectra, count, restarts, seed)
    chosen = pixels.isel({PIXEL: simplex.indices}).rename({PIXEL: ENDMEMBER}).drop_vars(ENDMEMBER, errors="ignore")
    chosen = chosen.astype(np.float32).assign_coords({ENDMEMBER: np.arange(1, count + 1)})
    describe_coordinates({k: v.variable for k, v in chosen.coords.items()})
    how = {"method": method, "restarts": restarts, "seed": seed, "pixels": len(spectra)}
    return describe(chosen, "endmembers", volume=simplex.volume, volumes=simplex.volumes.tolist(), **how)


def _largest_simplex(spectra: np.ndarray, count: int, restarts: int, seed: int) -> Simplex:
    if count == 1:  # a simplex of one vertex has no volume to compare: take the brightest, the fewest shadows
        brightest = int((spectra.astype(np.float64) ** 2).sum(axis=1).argmax())
        return Simplex(np.array([brightest]), 0.0, 0.0, np.zeros(1), np.zeros(1, np.intp))
    dimensions = count - 1
    if dimensions > min(spectra.shape):
        raise EndmemberError(
            f"{count} endmembers need {dimensions} dimensions, but the sample is {spectra.shape[0]} pixels of "
            f"{spectra.shape[1]} wavelengths; ask for fewer"
        )
    with threadpool_limits(1, user_api="blas"):  # thin products: more threads only wait for each other
        subspace = principal_subspace(spectra, dimensions)
        if subspace.rank >= dimensions:
            simplex = nfindr(reduce(spectra, subspace), count, restarts=restarts, seed=seed)
            if np.isfinite(simplex.log_volume):
                return simplex
    raise EndmemberError(
        f"the pixels span {subspace.rank} dimensions, but {count} endmembers need {dimensions}; "
        f"ask for at most {subspace.rank + 1} or sample more"
    )
