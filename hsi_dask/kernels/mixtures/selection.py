"""Which spectra of a class library stand for the others: by their averages, by counts, or by how well they classify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.mixtures.pairs import Materials, Measures, Pairs, members

Places = NDArray[np.intp]

_GAIN = 1e-9  # of kappa: less is rounding
_ROWS = 512  # candidates at a time


class Iterated(NamedTuple):
    """Spectra that classify the whole library.

    selected : (k,) places of the spectra, ascending. kappa : Cohen's, of the materials by them and as told.
    """

    selected: Places
    kappa: float


class _State(NamedTuple):
    """How a selection classifies L spectra: the class of each, -1 for none, and the residual that it has to beat."""

    classes: NDArray[np.int64]
    best: NDArray[np.float32]
    kappa: float


def smallest(values: NDArray[np.float64], material: Materials, count: int) -> Places:
    """The places of the `count` smallest values of each material, ascending.

    Examples
    --------
    >>> smallest(np.array([0.3, 0.1, 0.2, 0.5]), np.array([0, 0, 0, 1]), 2).tolist()
    [1, 2, 3]
    """
    return np.sort(np.concatenate([own[np.argsort(values[own], kind="stable")[:count]] for own in members(material)]))


def by_counts(found: Pairs, told: Measures, material: Materials, count: int | None = None) -> Places:
    """Of each material the spectrum that models most others, then, of those that are left, the next, and so on.

    Parameters
    ----------
    found, told : of the library, by `pairs` and `measures`.
    material : (L,) int.
    count : of each material, at most; None goes on until each spectrum is chosen or modelled.

    Returns
    -------
    (k,) places, ascending. Equal counts go to the spectrum that models fewer of other materials, then to the smaller
    average residual.

    References
    ----------
    Roberts et al. 2003, IEEE TGRS 41(6), 1297-1310. Clark 2005, dissertation, UC Santa Barbara.

    Examples
    --------
    >>> from hsi_dask.kernels.mixtures.pairs import measures, pairs
    >>> spectra, material = np.array([[0.2, 0.4], [0.1, 0.2], [0.3, 0.1]]), np.array([0, 0, 1])
    >>> found = pairs(spectra)
    >>> by_counts(found, measures(spectra, material, found), material).tolist()
    [0, 2]
    """
    chosen: list[int] = []
    for own in members(material):
        left = np.ones(own.size, bool)
        models = found.allowed[np.ix_(own, own)]
        for _ in range(own.size if count is None else count):
            if not left.any():
                break
            counts = np.where(left, (models & left).sum(axis=1), -1)
            first = np.lexsort((told.ear[own], told.outside[own], -counts))[0]
            chosen.append(int(own[first]))
            left &= ~models[first]
    return np.sort(np.array(chosen, np.intp))


def iterate(found: Pairs, material: Materials, count: int | None = None) -> Iterated:
    """Add the spectrum that most raises kappa, then drop one if that raises it further, until neither does.

    Parameters
    ----------
    found : of the library, by `pairs`.
    material : (L,) int, of two materials at least.
    count : of each material, at most; None sets no limit.

    Returns
    -------
    Iterated
        Each spectrum of the library has the material of the selected one that models it with the smallest residual,
        or none where no selected one is allowed to.

    Raises
    ------
    ValueError
        The library has one material only.

    References
    ----------
    Schaaf et al. 2011, Remote Sensing of Environment 115(6), 1409-1421. Roth et al. 2012, IEEE TGRS 50(1), 178-190.

    Examples
    --------
    >>> from hsi_dask.kernels.mixtures.pairs import pairs
    >>> iterate(pairs(np.array([[0.2, 0.4], [0.1, 0.2], [0.3, 0.1]])), np.array([0, 0, 1]))
    Iterated(selected=array([0, 2]), kappa=1.0)
    """
    true = np.unique(material, return_inverse=True)[1]
    sizes = np.bincount(true)
    if sizes.size < 2:
        raise ValueError("the selection tells materials apart, and the library has one; select by counts")
    rmse = np.where(found.allowed, found.rmse, np.float32(np.inf))
    selected: list[int] = []
    now = _classified(rmse, selected, true, sizes)
    while True:
        before = now.kappa
        open_ = np.bincount(true[selected], minlength=sizes.size) < (count or len(true))
        candidates = open_[true]
        candidates[selected] = False
        if candidates.any():
            selected, now = _kept(rmse, selected, [*selected, _best_addition(rmse, now, true, sizes, candidates)], now,
                                  true, sizes)  # fmt: skip
        if len(selected) > 1:
            selected, now = _kept(rmse, selected, _without_worst(rmse, selected, true, sizes), now, true, sizes)
        if now.kappa <= before + _GAIN:
            return Iterated(np.array(selected, np.intp), now.kappa)


def _kept(
    rmse: NDArray[np.float32], old: list[int], new: list[int], now: _State, true: Places, sizes: NDArray[np.int64]
) -> tuple[list[int], _State]:
    """The new selection if it is better, else the old one."""
    new = sorted(new)
    then = _classified(rmse, new, true, sizes)
    return (new, then) if then.kappa > now.kappa + _GAIN else (old, now)


def _classified(rmse: NDArray[np.float32], selected: Sequence[int], true: Places, sizes: NDArray[np.int64]) -> _State:
    if not selected:
        none = np.full(true.size, -1)
        return _State(none, np.full(true.size, np.inf, np.float32), -np.inf)
    among = rmse[list(selected)]
    first, best = among.argmin(axis=0), among.min(axis=0)
    classes = np.where(np.isfinite(best), true[list(selected)][first], -1)
    return _State(classes, best, float(_kappa((classes == true).sum(), sizes[classes[classes >= 0]].sum(), true.size)))


def _kappa(same: NDArray[np.int64] | int, chance: NDArray[np.int64] | int, size: int) -> NDArray[np.float64]:
    """Cohen's kappa: `same` of `size` agree; `chance` sums the true size of each one's class as classified."""
    expected = np.asarray(chance) / size**2
    kappa: NDArray[np.float64] = (np.asarray(same) / size - expected) / np.maximum(1 - expected, 1e-300)
    return kappa


def _best_addition(
    rmse: NDArray[np.float32], now: _State, true: Places, sizes: NDArray[np.int64], candidates: NDArray[np.bool_]
) -> int:
    """The candidate whose kappa is largest, the first of equals: only spectra that it models better change class."""
    had, weight = (now.classes == true), np.where(now.classes >= 0, sizes[now.classes], 0)
    told = np.column_stack([had, weight, np.ones(true.size), np.eye(sizes.size)[true]]).astype(np.float32)
    kappa = np.full(true.size, -np.inf)
    for start in range(0, true.size, _ROWS):
        rows = np.arange(start, min(start + _ROWS, true.size))
        better = (rmse[rows] < now.best).astype(np.float32)
        lost, chance, wins, own = np.split(better @ told, [1, 2, 3], axis=1)
        same = had.sum() - lost[:, 0] + own[np.arange(rows.size), true[rows]]
        kappa[rows] = _kappa(same, weight.sum() - chance[:, 0] + sizes[true[rows]] * wins[:, 0], true.size)
    return int(np.where(candidates, kappa, -np.inf).argmax())


def _without_worst(rmse: NDArray[np.float32], selected: list[int], true: Places, sizes: NDArray[np.int64]) -> list[int]:
    """The selection without the one whose loss leaves the largest kappa: its spectra go to the next best."""
    among, own = rmse[selected], true[selected]
    first, second = np.argsort(among, axis=0, kind="stable")[:2]
    columns = np.arange(true.size)
    now = np.where(np.isfinite(among[first, columns]), own[first], -1)
    then = np.where(np.isfinite(among[second, columns]), own[second], -1)
    gain = (then == true).astype(int) - (now == true)
    weight = np.where(then >= 0, sizes[then], 0) - np.where(now >= 0, sizes[now], 0)
    same = (now == true).sum() + np.bincount(first, gain, len(selected))
    chance = sizes[now[now >= 0]].sum() + np.bincount(first, weight, len(selected))
    worst = int(_kappa(same, chance, true.size).argmax())
    return [*selected[:worst], *selected[worst + 1 :]]
