"""Target detection against the statistics of a background: linear filters, and angles in whitened coordinates.

In coordinates in which the background has mean zero and variance one in every direction, with y the pixel and s the
target, the matched filter is y.s / s.s and ACE the squared cosine between them. Filters are one linear form a target;
what needs the length of y takes as many as the background has components.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.compiled import compiled
from hsi_dask.kernels.covariance import whiten
from hsi_dask.kernels.mnf import mnf, principal_components
from hsi_dask.kernels.rounding import rounding

Floats = NDArray[np.float64]
Scores = NDArray[np.float32]

_TILE = 1024  # pixels: buffers stay in cache
_FLAT = 1e-20  # of a target's energy: a target this near the mean, or the span of others, cannot be told from it


class Background(NamedTuple):
    """mean (L,), and forward (k, L), which makes spectra less the mean white: forward C forward' = 1."""

    mean: Floats
    forward: Floats

    def whitened(self, spectra: NDArray[Any]) -> Floats:
        """Spectra (n, L) as whitened coordinates, pixels last as in maps: (k, n)."""
        return np.asarray(self.forward @ (np.asarray(spectra, dtype=np.float64) - self.mean).T)


class LinearForms(NamedTuple):
    """Scores weights @ pixel + offsets: weights (p, L), offsets (p,)."""

    weights: Floats
    offsets: Floats


def background(
    mean: ArrayLike, covariance: ArrayLike, *, noise: ArrayLike | None = None, components: int | None = None
) -> Background:
    """The background of a scene, in all its dimensions or in a few components.

    Parameters
    ----------
    mean, covariance : (L,), (L, L) of the background's pixels.
    noise : (L, L) noise covariance or (L,) variances: components are those of largest signal-to-noise ratio; None
        takes those of largest variance.
    components : 1 to L. None is all: then detectors are those of the textbook.

    Notes
    -----
    Noise fills all of some 400 dimensions and materials a few: with all of them a pixel that is the target is nine
    tenths noise. On Jasper Ridge, for water and road among statistics of the whole scene, the area under the ROC
    curve of ACE is .83 and .71 in all 198 dimensions, .999 and .96 in 10 MNF components, .997 and .93 in 20. Costs a
    pixel grow with the components alone.

    References
    ----------
    Manolakis, Marden & Shaw 2003, Hyperspectral image processing for automatic target detection, Lincoln Lab. J. 14.

    Examples
    --------
    >>> background([1.0, 2.0], [[4.0, 0.0], [0.0, 1.0]], components=1).forward.tolist()
    [[0.5, 0.0]]
    """
    centre = np.asarray(mean, dtype=np.float64)
    if np.shape(covariance) != (centre.size,) * 2:
        raise ValueError(f"mean and covariance are {centre.shape} and {np.shape(covariance)}; L must agree")
    if components is None:
        return Background(centre, whiten(covariance).forward)
    if not 1 <= components <= centre.size:
        raise ValueError(f"components is {components}; it must be 1 to the {centre.size} wavelengths")
    axes = principal_components(centre, covariance) if noise is None else mnf(centre, covariance, noise)
    values = axes.eigenvalues[:components]
    if values[-1] <= centre.size * np.finfo(np.float64).eps * values[0]:
        raise ValueError(f"the covariance has fewer than {components} components with variance; ask for fewer")
    return Background(centre, axes.forward[:components] / np.sqrt(values)[:, None])


def matched_filter(scene: Background, targets: ArrayLike) -> LinearForms:
    """How much of a target is added to the background's mean: 1 at the target, 0 at the mean.

    Parameters
    ----------
    targets : (p, L) spectra.

    References
    ----------
    Manolakis, Marden & Shaw 2003, Lincoln Lab. J. 14(1).

    Examples
    --------
    >>> scene = background([1.0, 1.0], [[4.0, 0.0], [0.0, 1.0]])
    >>> forms = matched_filter(scene, [[3.0, 1.0]])
    >>> (forms.weights @ [3.0, 1.0] + forms.offsets).round(12).tolist()
    [1.0]
    """
    towards = _targets(targets, scene) - scene.mean
    white = towards @ scene.forward.T
    filters = white @ scene.forward / _energies(white)
    return LinearForms(filters, -filters @ scene.mean)


def cem(scene: Background, targets: ArrayLike) -> LinearForms:
    """Constrained energy minimisation: 1 at the target, with the least mean square over the scene.

    The second moments R = C + mean mean' are inverted by the formula of Sherman & Morrison.

    References
    ----------
    Harsanyi 1993, PhD thesis, University of Maryland. Du, Ren & Chang 2003, IEEE TGRS 41(6).
    """
    spectra = _targets(targets, scene)
    white, middle = spectra @ scene.forward.T, scene.forward @ scene.mean
    filters = (white - np.outer(white @ middle, middle) / (1.0 + middle @ middle)) @ scene.forward
    return LinearForms(filters / np.einsum("ij,ij->i", filters, spectra)[:, None], np.zeros(len(filters)))


def osp(targets: ArrayLike, undesired: ArrayLike | None = None) -> LinearForms:
    """Orthogonal subspace projection: 1 at the target, 0 at every mixture of undesired spectra.

    Parameters
    ----------
    targets : (p, L) spectra.
    undesired : (q, L) spectra to be suppressed; None takes, for each target, the other targets.

    References
    ----------
    Harsanyi & Chang 1994, IEEE TGRS 32(4), 779-785.

    Examples
    --------
    >>> osp([[1.0, 1.0], [0.0, 2.0]]).weights.round(12).tolist()
    [[1.0, 0.0], [-0.5, 0.5]]
    """
    spectra = np.atleast_2d(np.asarray(targets, dtype=np.float64))
    rows = []
    for number, target in enumerate(spectra):
        others = np.delete(spectra, number, axis=0) if undesired is None else np.atleast_2d(undesired)
        rest = target - np.linalg.pinv(others, rcond=rounding(others)) @ (others @ target) if len(others) else target
        if rest @ rest <= _FLAT * (target @ target):
            raise ValueError(f"target {number + 1} is a mixture of the spectra to be suppressed; leave some out")
        rows.append(rest / (rest @ target))
    return LinearForms(np.stack(rows), np.zeros(len(rows)))


def ace(whitened: NDArray[Any], targets: NDArray[Any]) -> Scores:
    """Adaptive coherence estimator: squared cosine of the whitened angle between pixel and target, with its sign.

    Parameters
    ----------
    whitened : (k, n) pixels in the coordinates of a `Background`, as its `whitened` gives, or as linear forms of
        projections. NaN makes a pixel's scores NaN.
    targets : (k, p) targets in the same coordinates.

    Returns
    -------
    (p, n) float32 in [-1, 1]: 1 is the target's direction from the mean, negative the other side of it. Its
    absolute value is the textbook's ACE for the background in as many dimensions as it has.

    References
    ----------
    Kraut & Scharf 1999, IEEE Trans. Signal Processing 47(9), 2538-2541.

    Examples
    --------
    >>> scene = background([1.0, 1.0], [[4.0, 0.0], [0.0, 1.0]])
    >>> pixels = np.array([[5.0, 1.0], [-1.0, 1.0], [1.0, 2.0]])
    >>> ace(scene.whitened(pixels), scene.whitened([[3.0, 1.0]])).round(6).tolist()
    [[1.0, -1.0, 0.0]]
    """
    return _coherence(whitened, targets, 0.0)


def glrt(whitened: NDArray[Any], targets: NDArray[Any], pixels: int) -> Scores:
    """Kelly's generalised likelihood ratio: ACE that also asks how far the pixel is from the background.

    Parameters
    ----------
    whitened, targets : as in `ace`.
    pixels : how many the background's statistics are of.

    Returns
    -------
    (p, n) float32 in (-1, 1): (y.s)^2 / (s.s (pixels + y.y)), with the sign of y.s.

    References
    ----------
    Kelly 1986, An adaptive detection algorithm, IEEE TAES 22(1), 115-127.
    """
    if pixels < 1:
        raise ValueError(f"pixels is {pixels}; the background has at least 1")
    return _coherence(whitened, targets, float(pixels))


def _targets(targets: ArrayLike, scene: Background) -> Floats:
    spectra = np.atleast_2d(np.asarray(targets, dtype=np.float64))
    if spectra.shape[1:] != scene.mean.shape or not np.isfinite(spectra).all():
        raise ValueError(f"targets are {spectra.shape}; they must be finite, on {scene.mean.size} wavelengths")
    return spectra


def _energies(white: Floats) -> Floats:
    energies = np.asarray(np.einsum("ij,ij->i", white, white))
    if (energies <= _FLAT).any():
        raise ValueError(f"target {int(energies.argmin()) + 1} is the mean of the background; it cannot be detected")
    return energies[:, None]


def _coherence(whitened: NDArray[Any], targets: NDArray[Any], added: float) -> Scores:
    planes = np.ascontiguousarray(whitened, dtype=np.float64).view()
    planes.flags.writeable = False
    directions = np.asarray(targets, dtype=np.float64).T
    if planes.ndim != 2 or directions.ndim != 2 or directions.shape[1] != len(planes):
        raise ValueError(f"pixels are {planes.shape} and targets {np.shape(targets)}; the first dimensions must agree")
    unit = np.ascontiguousarray(directions / np.sqrt(_energies(directions)))
    out = np.empty((len(unit), planes.shape[1]), np.float32)
    _cosines(planes, unit, added, out)
    return out


@compiled(fastmath={"contract"})
def _cosines(planes: Any, unit: Any, added: Any, out: Any) -> None:
    energy, along = np.empty(_TILE), np.empty(_TILE)
    for start in range(0, planes.shape[1], _TILE):
        size = min(_TILE, planes.shape[1] - start)
        for i in range(size):
            energy[i] = added
        for x in range(planes.shape[0]):
            plane = planes[x, start : start + size]
            for i in range(size):
                energy[i] += plane[i] * plane[i]
        for j in range(unit.shape[0]):
            for i in range(size):
                along[i] = 0.0
            for x in range(planes.shape[0]):
                weight, plane = unit[j, x], planes[x, start : start + size]
                for i in range(size):
                    along[i] += weight * plane[i]
            score = out[j, start : start + size]
            for i in range(size):
                score[i] = along[i] * abs(along[i]) / energy[i] if energy[i] != 0.0 else 0.0
