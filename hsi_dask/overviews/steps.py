"""Steps between neighbouring pixels: across a seam, and on lines inside a tile, which tell what is ordinary there."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.documents import Count, Name, between
from hsi_dask.schema import Variable

FEWEST = 10  # pairs of pixels: of fewer nothing is told
_LINES = 32  # inside a tile, in each direction, spread over it
_FEWEST_LINES = 4
_SMALLEST = 1e-4  # of a spread: one digital number of reflectance
_DIGITS = 6

Number = Annotated[float, between(-1e30, 1e30)]


class Ordinary(NamedTuple):
    """Steps along lines inside tiles: their mean, their spread from line to line, and that of single pixels."""

    step: float
    spread: float
    texture: float


class Step(NamedTuple):
    """What changes across a seam, in one plane of a map.

    variable, plane : the map, and which of its planes, from 0; -1 where it has one only
    pairs : of neighbouring pixels; in an overlap pixels with both
    step : median of second - first; of classes the share of pairs whose classes differ
    relative : of reflectance the median of (second - first) / the mean of both
    inside, spread : the same along parallel lines inside the tiles: mean, and standard deviation from line to line
    texture : median size of the difference of two neighbouring pixels inside the tiles
    """

    variable: Name
    plane: Annotated[int, between(-1, 10_000)]
    pairs: Count
    step: Number
    relative: Number | None = None
    inside: Number | None = None
    spread: Number | None = None
    texture: Number | None = None

    @property
    def times(self) -> float | None:
        """How many standard deviations of lines inside the step is away from what is usual there."""
        if self.inside is None or self.spread is None:
            return None
        return abs(self.step - self.inside) / self.spread


def differences(first: NDArray[Any], second: NDArray[Any], spec: Variable) -> NDArray[np.float32]:
    """Second - first where both have data; of classes 1 where they differ, else 0.

    Fractions that are 0 on both sides are left out: of a material that is nowhere near, no step can be told.
    """
    if spec.role == "class":
        known = (first != spec.fill_value) & (second != spec.fill_value)
        return np.asarray(first[known] != second[known], np.float32)
    found = second - first
    known = np.isfinite(found)
    if spec.role == "fraction":
        known &= (first != 0) | (second != 0)
    return np.asarray(found[known], np.float32)


def ordinary(values: NDArray[Any], axis: int, spec: Variable) -> Ordinary | None:
    """Of a plane (y, x) the steps from row to row (axis 0) or column to column; None where there are too few."""
    lines = values if axis == 0 else values.T
    chosen = np.unique(np.linspace(0, len(lines) - 2, _LINES + 2).astype(int)[1:-1]) if len(lines) > 2 else ()
    steps, textures = [], []
    for n in chosen:
        found = differences(lines[n], lines[n + 1], spec)
        if found.size >= FEWEST:
            steps.append(_middle(found, spec))
            textures.append(_middle(np.abs(found), spec))
    if len(steps) < _FEWEST_LINES:
        return None
    # not robust: where borders of fields often lie along lines, they are ordinary
    return Ordinary(float(np.mean(steps)), float(np.std(steps)), float(np.median(textures)))


def together(found: list[Ordinary]) -> Ordinary | None:
    """Of several tiles, or directions, what is ordinary in all."""
    if not found:
        return None
    steps, spreads, textures = np.array(found).T
    return Ordinary(float(steps.mean()), float(np.sqrt((spreads**2).mean())), float(textures.mean()))


def step_of(
    first: NDArray[Any], second: NDArray[Any], spec: Variable, plane: int, usual: Ordinary | None
) -> Step | None:
    """The step between pixels that are neighbours, compared with what is ordinary; None where they are too few."""
    found = differences(first, second, spec)
    if found.size < FEWEST:
        return None
    known: tuple[float, ...] = ()
    if usual is not None:
        least = 1 / found.size if spec.role == "class" else _SMALLEST
        known = usual.step, max(usual.spread, least), usual.texture
    relative = relative_step(first, second) if spec.role == "reflectance" else None
    return Step(spec.name, plane, found.size, rounded(_middle(found, spec)), relative, *map(rounded, known))


def relative_step(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """The median of (second - first) / the mean of both, where that is positive; None where it is nowhere."""
    mean = (first + second) / 2
    positive = mean > 0
    if not positive.any():
        return None
    return rounded(float(np.median((second[positive] - first[positive]) / mean[positive])))


def rounded(number: float) -> float:
    """As many digits as are kept."""
    return float(f"{number:.{_DIGITS}g}")


def _middle(found: NDArray[np.float32], spec: Variable) -> float:
    """The median; of classes the share that differs."""
    return float(found.mean() if spec.role == "class" else np.median(found))
