"""Accuracy of a class map by a stratified sample, adjusted for the area of its classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Adjusted(NamedTuple):
    """Estimates for the mapped area, of k classes, each with its standard error; NaN where there is no sample.

    proportion : (k, k) share of the area that is mapped as (rows) and is (columns)
    overall : share of the area whose class is right
    users : (k,) share of what is mapped as a class that is of it
    producers : (k,) share of what is of a class that is mapped as it
    area : (k,) share of the area that is of a class
    """

    proportion: Floats
    overall: float
    overall_error: float
    users: Floats
    users_error: Floats
    producers: Floats
    producers_error: Floats
    area: Floats
    area_error: Floats


def area_adjusted(counts: NDArray[Any], pixels: NDArray[Any]) -> Adjusted:
    """Estimate accuracies and areas from an error matrix and the mapped area of each class.

    Parameters
    ----------
    counts : (k, k) how many samples are mapped as (rows) and are (columns)
    pixels : (k,) mapped area of each class, in any unit. Classes without a sample are left out of the whole

    Returns
    -------
    Adjusted

    Notes
    -----
    Unbiased where samples are drawn at random within the mapped classes, each of them a stratum; in a simple random
    sample the classes are strata after the fact. A class with a single sample has no standard error.

    References
    ----------
    Olofsson et al. (2014), Remote Sensing of Environment 148:42-57, equations 1 to 11.

    Examples
    --------
    >>> found = area_adjusted(np.array([[45, 5], [10, 40]]), np.array([100, 300]))
    >>> round(found.overall, 3), found.area.round(3)
    (0.825, array([0.375, 0.625]))
    """
    n = counts.sum(axis=1).astype(np.float64)
    sampled = n > 0
    weight = np.where(sampled, pixels, 0.0) / max(float(np.sum(pixels, where=sampled)), np.finfo(float).tiny)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(sampled[:, None], counts / n[:, None], 0.0)
        # of each cell of a row, for a sample of its own; 0 / 0 of single samples is unknown
        variance = np.where(sampled[:, None], share * (1 - share) / (n - 1)[:, None], 0.0)
        proportion = weight[:, None] * share
        users = np.where(sampled, np.diag(share), np.nan)
        area = proportion.sum(axis=0)
        producers = np.diag(proportion) / area
        own, others = np.diag(variance), np.where(np.eye(len(n), dtype=bool), 0.0, variance)
        spread = weight**2 * (1 - producers) ** 2 * own + producers**2 * (weight[:, None] ** 2 * others).sum(axis=0)
        producers_error = np.sqrt(spread) / area
    return Adjusted(
        proportion, float(np.trace(proportion)), float(np.sqrt((weight**2 * own).sum())), users,
        np.where(sampled, np.sqrt(own), np.nan), producers, producers_error, area,
        np.sqrt((weight[:, None] ** 2 * variance).sum(axis=0)),
    )  # fmt: skip
