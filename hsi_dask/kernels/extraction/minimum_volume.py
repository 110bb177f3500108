"""Minimum volume: the smallest simplex that holds nearly all pixels, for scenes without pure ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hsi_dask.kernels.extraction.extracted import Extracted, Floats, Spectra, checked, reduced
from hsi_dask.kernels.nfindr import nfindr

_SOFT = 0.01  # abundance: up to so much below zero a pixel counts by the square, as noise does
_ENOUGH = 1e-7  # of the objective, which is a logarithm: steps that gain less are the last
_DESCENT = 1e-4  # share of the gain promised by the slope that a step must bring (Armijo)


class _State(NamedTuple):
    """Abundances (p, n) in the present simplex, its vertices (p, p) with a 1 last, and the objective."""

    abundances: Floats
    vertices: Floats
    value: float


def minimum_volume(
    spectra: Spectra, count: int, rng: np.random.Generator, *, outside: float = 0.003, steps: int = 500
) -> Extracted:
    """The simplex of smallest volume outside of which few pixels lie: its vertices need not be pixels.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 2 to min(n, L).
    rng : of N-FINDR, whose simplex is the first.
    outside : about which share of the pixels each facet may leave outside. 0.003 to 0.01 suit noise of 30 to 40 dB,
        0.001 less noise.
    steps : at most; 20 to 60 are usual.

    Returns
    -------
    Extracted
        `spectra` instead of indices; a reflectance may be below zero. diagnostics: `volume`, relative to N-FINDR's;
        `outside`, the share of pixels with an abundance below -0.01; `steps`, and `converged`.

    Notes
    -----
    Minimises log volume + mean penalty of negative abundances / `outside`, by damped steps of a diagonal Newton
    method relative to the present simplex, so that units and shape do not matter. Where no pixel is pure it is far
    better than any choice of pixels (a scene of six materials, none above 0.75, 40 dB: angles of .002 rad instead of
    .084); where pure pixels exist, and mixing is not quite linear, it is worse: Jasper Ridge .50 instead of .16.

    References
    ----------
    Craig 1994, Minimum-volume transforms, IEEE TGRS 32(3). Bioucas-Dias 2009, A variable splitting augmented
    Lagrangian approach to linear spectral unmixing (SISAL), WHISPERS. Amari 1998, Neural Computation 10(2), for steps
    relative to the present matrix.

    Examples
    --------
    >>> shares = np.random.default_rng(0).dirichlet(np.ones(3), 4000)
    >>> pixels = shares[shares.max(axis=1) < 0.8] @ [[0.1, 0.9, 0.1], [0.7, 0.2, 0.3], [0.4, 0.4, 0.8]]
    >>> found = minimum_volume(pixels, 3, np.random.default_rng(0)).spectra
    >>> found[found[:, 0].argsort()].round(1).tolist()
    [[0.1, 0.9, 0.1], [0.4, 0.4, 0.8], [0.7, 0.2, 0.3]]
    """
    spectra = checked(spectra, count, least=2)
    if not 0 < outside < 1 or steps < 1:
        raise ValueError(f"outside is {outside}, steps {steps}; they must be in (0, 1) and at least 1")
    inside, subspace = reduced(spectra, count)
    points = np.column_stack([inside, np.ones(len(spectra))])
    first = nfindr(inside, count, seed=int(rng.integers(2**31)))
    vertices = points[first.indices]
    state = _State(np.linalg.solve(vertices.T, points.T), vertices, np.inf)
    state, used, converged = _minimise(state, outside, steps)
    diagnostics = {
        "volume": float(abs(np.linalg.det(state.vertices) / np.linalg.det(vertices))),
        "outside": float((state.abundances < -_SOFT).any(axis=0).mean()),
        "steps": used,
        "converged": converged,
    }
    return Extracted(None, diagnostics, state.vertices[:, :-1] @ subspace.components + subspace.mean)


def _minimise(state: _State, outside: float, steps: int) -> tuple[_State, int, bool]:
    state = state._replace(value=_penalty(state.abundances, outside))
    for step in range(steps):
        direction, slope = _direction(state.abundances, outside)
        after = _search(state, direction, slope, outside)
        if after is None or state.value - after.value < _ENOUGH:
            return after or state, step + 1, True
        state = after
    return state, steps, False


def _penalty(abundances: Floats, outside: float) -> float:
    below = np.maximum(-abundances, 0.0)
    costs = np.where(below < _SOFT, below**2 / (2.0 * _SOFT), below - _SOFT / 2.0)
    return float(costs.sum() / (outside * abundances.shape[1]))


def _direction(abundances: Floats, outside: float) -> tuple[Floats, float]:
    """E by which new abundances (1 + E) S fall fastest, its columns summing to zero; and the slope along it."""
    p, n = abundances.shape
    pull = np.minimum(np.maximum(-abundances, 0.0) / _SOFT, 1.0)
    near = (abundances < 0.0) & (abundances > -_SOFT)
    gradient = -np.eye(p) - pull @ abundances.T / (outside * n)
    curvature = 1.0 + near.astype(float) @ (abundances**2).T / (_SOFT * outside * n)
    level = (gradient / curvature).sum(axis=0) / (1.0 / curvature).sum(axis=0)
    direction = (level - gradient) / curvature
    return direction, float((gradient * direction).sum())


def _search(state: _State, direction: Floats, slope: float, outside: float) -> _State | None:
    """Half the step until it brings what the slope promises; None when none does."""
    length = 1.0
    log_volume = float(np.linalg.slogdet(state.vertices).logabsdet)
    while length > 1e-9:
        change = np.eye(len(direction)) + length * direction
        if np.linalg.det(change) > 0.0:
            vertices = np.asarray(np.linalg.solve(change.T, state.vertices), dtype=np.float64)
            abundances = change @ state.abundances
            gain = float(np.linalg.slogdet(vertices).logabsdet) - log_volume
            gain += _penalty(abundances, outside) - _penalty(state.abundances, outside)
            if gain <= _DESCENT * length * slope:
                return _State(abundances, vertices, state.value + gain)
        length /= 2.0
    return None
