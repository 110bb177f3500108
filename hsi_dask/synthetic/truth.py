"""What was found against what was simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hsi_dask.synthetic.scenes import Scene

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]


class Agreement(NamedTuple):
    """What was found against what was simulated, material by material.

    names : the p materials of the scene
    found : (p,) int, the endmember taken for each, 0 where there is none left
    angle : (p,) radians between the found spectrum and the true one
    abundance_rmse : (p,) over all pixels with data
    classes : by variable, (p,) share of the material's nearly pure pixels that have its class; NaN if there are none
    pixels : (p,) int, how many nearly pure pixels there are
    """

    names: tuple[str, ...]
    found: Array
    angle: Array
    abundance_rmse: Array
    classes: dict[str, Array]
    pixels: Array


def compare_with_truth(endmembers: xr.DataArray, maps: xr.Dataset, scene: Scene, *, pure: float = 0.9) -> Agreement:
    """Compare endmembers and maps with the scene they were made from.

    Each material takes the endmember of the smallest angle to it, best pair first, and each endmember goes once.

    Parameters
    ----------
    endmembers : (endmember, wavelength), on some of the scene's wavelengths
    maps : `abundance` and classes, on the scene's pixels or a mosaic that holds them
    scene : Scene
    pure : float
        A pixel counts for its class from this share of one material on.

    Returns
    -------
    Agreement
    """
    places = np.abs(scene.wavelength[:, None] - endmembers["wavelength"].values).argmin(axis=0)
    angle = _angles(scene.endmembers[:, places], endmembers.values)
    found = _pairs(angle)
    maps = maps.sel(y=scene.y, x=scene.x)
    abundance = np.nan_to_num(maps["abundance"].values, nan=-1.0)
    seen = (abundance[0] >= 0) & ~scene.no_data
    matched = np.stack([abundance[n - 1] if n else np.zeros(seen.shape) for n in found])
    error = np.sqrt(((matched - scene.abundance)[:, seen] ** 2).mean(axis=1))
    cores = (scene.abundance >= pure) & seen
    pixels = cores.sum(axis=(1, 2))
    classes = {name: _shares(maps[name].values, found, cores) for name in ("sam_class", "sid_class") if name in maps}
    matched_angle = np.array([row[n - 1] if n else np.nan for n, row in zip(found, angle, strict=True)])
    return Agreement(scene.names, found, matched_angle, error, classes, pixels)


def _shares(classes: Array, numbers: Array, cores: Array) -> Array:
    """For each number the share of its core's pixels that have it as their class."""
    pairs = zip(numbers, cores, strict=True)
    return np.array([(classes[core] == n).mean() if n and core.any() else np.nan for n, core in pairs])


def _angles(one: Array, other: Array) -> Array:
    """Spectral angles, radians, of every row of one to every row of the other."""
    a, b = (np.asarray(s, dtype=np.float64) for s in (one, other))
    a, b = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in (a, b))
    return np.asarray(np.arccos(np.clip(a @ b.T, -1, 1)))


def _pairs(angle: Array) -> Array:
    """For each row the number, from 1, of its column; best pair first, each column once, 0 when none is left."""
    left, found = angle.copy(), np.zeros(len(angle), np.int64)
    for _ in range(min(angle.shape)):
        row, column = np.unravel_index(left.argmin(), left.shape)
        found[row] = column + 1
        left[row], left[:, column] = np.inf, np.inf
    return found
