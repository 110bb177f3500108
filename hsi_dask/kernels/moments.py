"""Mean, covariance and noise covariance of a scene, block by block, and how those of two parts are combined.

A block is cut into quads of 2 x 2 pixels a b / c d. With s = a + b + c + d, h = a - b + c - d, v = a + b - c - d and
q = a - b - c + d, the scatter of the four pixels is (ss' + hh' + vv' + qq') / 4, and that of the four differences
between neighbours is (hh' + vv') / 2 + qq'. So covariance and noise covariance together cost the products of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import compiled
from hsi_dask.kernels.whole_products import ROWS, SEGMENT, add_products

Floats = NDArray[np.float64]

_STEP = 2048  # quads a matrix product: enough for BLAS


class Moments(NamedTuple):
    """Moments of the valid pixels of a part of a scene, float64; `combine` gives those of two parts.

    pixels : how many are valid.
    mean : (L,).
    scatter : (L, L), sum of (x - mean)(x - mean)' over pixels.
    pairs : pairs of neighbours behind the noise; 0 where none were looked for.
    noise_scatter : (L, L), sum of dd' / 2 over the differences d of these pairs.
    """

    pixels: int
    mean: Floats
    scatter: Floats
    pairs: int
    noise_scatter: Floats

    @property
    def covariance(self) -> Floats:
        """(L, L) sample covariance; needs two pixels."""
        return self.scatter / (_at_least(self.pixels, 2, "a covariance", "pixels") - 1)

    @property
    def correlation(self) -> Floats:
        """(L, L) second moments about zero, the mean of xx': what HySime and HFC call the correlation matrix."""
        return self.scatter / _at_least(self.pixels, 1, "a correlation", "pixels") + np.outer(self.mean, self.mean)

    @property
    def noise_covariance(self) -> Floats:
        """(L, L) covariance of the noise of a pixel, if neighbours differ by their noise alone."""
        return self.noise_scatter / _at_least(self.pairs, 1, "a noise covariance", "pairs of neighbours")

    @classmethod
    def empty(cls, wavelengths: int) -> Moments:
        """Moments of no pixel."""
        return cls(0, np.zeros(wavelengths), np.zeros((wavelengths,) * 2), 0, np.zeros((wavelengths,) * 2))


def _at_least(found: int, needed: int, what: str, of: str) -> int:
    if found < needed:
        raise ValueError(
            f"{what} needs at least {needed} valid {of}, and the scene has {found}; check its no-data mask"
        )
    return found


def combine(a: Moments, b: Moments) -> Moments:
    """Moments of two parts together; a part without pixels changes no bit of the other.

    References
    ----------
    Chan, Golub & LeVeque 1983, Algorithms for computing the sample variance, The American Statistician 37(3).
    """
    if not a.pixels or not b.pixels:
        return a if a.pixels else b
    count = a.pixels + b.pixels
    shift = b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(shift, shift * (a.pixels * b.pixels / count))
    noise = a.noise_scatter + b.noise_scatter
    return Moments(count, a.mean + shift * (b.pixels / count), scatter, a.pairs + b.pairs, noise)


def combine_all(parts: Sequence[Moments]) -> Moments:
    """Moments of all parts, combined by pairs of neighbours: the order of `parts` alone decides every bit.

    Examples
    --------
    >>> parts = [spectra_moments(np.array([[x, 1.0]])) for x in (1.0, 2.0, 6.0)]
    >>> whole = combine_all(parts)
    >>> whole.pixels, whole.mean.tolist(), whole.covariance.tolist()
    (3, [3.0, 1.0], [[7.0, 0.0], [0.0, 0.0]])
    """
    level = list(parts)
    if not level:
        raise ValueError("there are no moments to combine; at least one part is needed")
    while len(level) > 1:
        pairs = [combine(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def spectra_moments(spectra: NDArray[Any], *, scale: float = 1.0, fill: float | None = None) -> Moments:
    """Moments of spectra (n, L) in no spatial order, so without noise; else as `block_moments`."""
    if spectra.ndim != 2:
        raise ValueError(f"spectra must be (n, wavelength), not of shape {spectra.shape}")
    sums = _sums(spectra[None], fill)
    sums.add_rest()
    return sums.moments(scale, "none")


def block_moments(
    block: NDArray[Any],
    *,
    scale: float = 1.0,
    fill: float | None = None,
    noise: Literal["all", "quiet"] = "all",
) -> Moments:
    """Moments of a block of pixels as they are stored.

    Parameters
    ----------
    block : (y, x, L) integers or floats, in any memory order; contiguous planes of 10 000 pixels and more are
        fastest. A pixel is left out if one of its values is missing (fill, NaN, infinity) or all are zero.
    scale : the unit of the stored numbers.
    fill : the stored number that means no data, besides NaN.
    noise : "all" takes the four differences of every 2 x 2 quad with four valid pixels, quads counted from the
        block's first pixel. "quiet" takes the half of the quads that differ least, which edges and texture
        spoil less.

    Returns
    -------
    Moments
        In units of `scale`.

    Notes
    -----
    Integers less their rounded mean are whole numbers, and sums of their products are exact, in float64 or as whole
    numbers. What is found is so independent of where blocks are cut, but for the rounding of `combine`: 1e-15 of the
    product of two standard deviations. Differences of int16 are summed as whole numbers, in half of the time. Products
    in float32 would cost as much, and leave errors of some 3e-8.

    Neighbours differ by more than noise. On simulated patches with mixed borders "all" finds 8 times the noise and
    "quiet" 1.00 times, with texture of 10 % in brightness 29 and 13 times: `noise.regression_noise` needs the
    covariance alone, and finds 1.00 times on all of them where the noise of one wavelength is not the next one's.

    References
    ----------
    Green, A. A. et al. 1988, IEEE TGRS 26(1), 65-74 (noise from neighbour differences).

    Examples
    --------
    >>> found = block_moments(np.array([[[1.0], [2.0]], [[3.0], [4.0]]]))
    >>> found.pixels, found.mean.tolist(), found.scatter.tolist(), found.pairs, found.noise_scatter.tolist()
    (4, [2.5], [[5.0]], 4, [[5.0]])
    """
    if noise not in ("all", "quiet"):
        raise ValueError(f"noise must be all or quiet, not {noise!r}")
    sums = _sums(block, fill)
    rows, columns = (size // 2 for size in block.shape[:2])
    across = min(columns, _STEP) or 1
    down = _STEP // across
    for y, x in product(range(0, rows, down), range(0, columns, across)):
        here = slice(2 * y, 2 * min(y + down, rows)), slice(2 * x, 2 * min(x + across, columns))
        sums.add_quads(*here, quiet=noise == "quiet")
    sums.add_rest()
    return sums.moments(scale, noise)


def _sums(block: NDArray[Any], fill: float | None) -> _Sums:
    if block.ndim != 3 or block.dtype.kind not in "iuf" or block.dtype.itemsize > 8:
        raise ValueError(f"a block must be (y, x, wavelength) integers or floats, not {block.dtype} {block.shape}")
    dtype = block.dtype.newbyteorder("=")
    planes = np.ascontiguousarray(block.transpose(2, 0, 1), dtype if dtype in (np.int16, np.float32) else np.float64)
    planes = planes.view()
    planes.flags.writeable = False  # the caller's memory may be either: one kind, one compilation
    whole = block.dtype.kind != "f"
    return _Sums(planes, _valid(planes, np.nan if fill is None else float(fill)), whole)


class _Sums:
    """Sums over the valid pixels of a block, about a common centre. `rest`: pixels that are not in them yet."""

    def __init__(self, planes: NDArray[Any], valid: NDArray[np.bool_], whole: bool) -> None:
        self.planes, self.rest = planes, valid.copy()
        self.pixels, self.pairs = int(valid.sum()), 0
        self.centre = _middle(planes, valid, whole)
        self.total = np.zeros(len(planes))
        # of four times the scatter: what neighbours share, their differences along y and x, those along both
        self.level, self.quiet = np.zeros((2, len(planes), len(planes)))
        self.as_integers = planes.dtype == np.int16
        size, dtype = (_up(len(planes), ROWS), np.int64) if self.as_integers else (len(planes), np.float64)
        self.sides, self.crosswise = np.zeros((2, size, size), dtype)
        self.buffers = self._buffers(0)

    def _buffers(self, quads: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Planes (L, quads), (L, 2 quads) and (L, quads); of integers with rows and columns of zeros at the end."""
        level = np.empty((len(self.planes), quads))
        if not self.as_integers:
            return level, np.empty((len(level), 2 * quads)), np.empty_like(level)
        sides, crosswise = (np.zeros((len(self.sides), _up(n, SEGMENT)), np.int32) for n in (2 * quads, quads))
        return level, sides, crosswise

    def add_quads(self, rows: slice, columns: slice, quiet: bool) -> None:
        quads = self.rest[rows, columns].reshape((rows.stop - rows.start) // 2, 2, -1, 2)
        complete = np.asarray(quads.all(axis=(1, 3)))
        if not complete.any():
            return
        if self.buffers[0].shape[1] != complete.size:
            self.buffers = self._buffers(complete.size)
        level, sides, crosswise = self.buffers
        _quads(self.planes[:, rows, columns], complete, self.centre, level, sides, crosswise, self.total)
        quads &= ~complete[:, None, :, None]
        self.level += _squared(level)
        for values, onto in ((sides, self.sides), (crosswise, self.crosswise)):
            if self.as_integers:
                add_products(values, onto)
            else:
                onto += _squared(values)
        chosen = np.flatnonzero(complete)
        if quiet:
            sides, crosswise = (
                np.asarray(part[: len(level), :n], np.float64)
                for part, n in ((sides, 2 * complete.size), (crosswise, complete.size))
            )
            contrast = _contrast(sides, crosswise)[chosen]
            chosen = chosen[contrast <= np.median(contrast)]
            self.quiet += _squared(sides.take(np.concatenate([chosen, chosen + complete.size]), axis=1))
            self.quiet += 2.0 * _squared(crosswise.take(chosen, axis=1))
        self.pairs += 4 * chosen.size

    def add_rest(self) -> None:
        """Valid pixels that are in no complete quad."""
        at = np.flatnonzero(self.rest)
        planes = self.planes.reshape(len(self.planes), -1)
        for start in range(0, at.size, 4 * _STEP):
            pixels = planes[:, at[start : start + 4 * _STEP]] - self.centre[:, None]
            self.level += 4.0 * _squared(pixels)
            self.total += pixels.sum(axis=1)

    def moments(self, scale: float, noise: Literal["all", "quiet", "none"]) -> Moments:
        """In units of `scale`."""
        if not self.pixels:
            return Moments.empty(len(self.planes))
        shift = self.total / self.pixels
        sides, crosswise = (self._whole(sums) for sums in (self.sides, self.crosswise))
        scatter = (self.level + sides + crosswise) / 4.0 - np.outer(shift, self.total)
        mean, square = (self.centre + shift) * scale, scale * scale
        differences = self.quiet if noise == "quiet" else sides + 2.0 * crosswise
        return Moments(self.pixels, mean, scatter * square, self.pairs, differences * (square / 4.0))

    def _whole(self, sums: NDArray[Any]) -> Floats:
        if not self.as_integers:
            return sums
        upper = np.triu(sums[: len(self.planes), : len(self.planes)])
        return np.asarray(upper + np.triu(upper, 1).T, np.float64)


def _up(size: int, step: int) -> int:
    return size + -size % step


def _middle(planes: NDArray[Any], valid: NDArray[np.bool_], whole: bool) -> Floats:
    """What is subtracted from every pixel: near the mean; whole for integers, which are exact after it."""
    if not valid.any():
        return np.zeros(len(planes))
    some = np.flatnonzero(valid)[:: max(1, int(valid.sum()) // 64)]
    mean: Floats = planes.reshape(len(planes), -1)[:, some].mean(axis=1, dtype=np.float64)
    return np.rint(mean) if whole else mean


def _squared(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(values @ values.T)  # numpy calls syrk for this: half the products of any other two matrices


@compiled()
def _contrast(sides: Any, crosswise: Any) -> Any:
    """How much the pixels of each quad differ, every wavelength weighed by its own mean."""
    wavelengths, quads = crosswise.shape
    contrast, energy = np.zeros(quads), np.empty(quads)
    for k in range(wavelengths):
        total = 0.0
        for i in range(quads):
            energy[i] = sides[k, i] ** 2 + sides[k, quads + i] ** 2 + crosswise[k, i] ** 2
            total += energy[i]
        weight = quads / total if total > 0.0 else 0.0
        for i in range(quads):
            contrast[i] += weight * energy[i]
    return contrast


@compiled()
def _valid(planes: Any, fill: Any) -> Any:
    wavelengths, rows, columns = planes.shape
    valid = np.ones((rows, columns), np.bool_)
    dark = np.ones((rows, columns), np.bool_)
    for k in range(wavelengths):
        for y in range(rows):
            for x in range(columns):
                value = planes[k, y, x]
                valid[y, x] &= (value != fill) & (value - value == 0)
                dark[y, x] &= value == 0
    return valid & ~dark


@compiled()
def _quads(planes: Any, complete: Any, centre: Any, level: Any, sides: Any, crosswise: Any, total: Any) -> None:
    """Sum and differences of every quad; zero, which adds nothing, where a pixel is missing."""
    rows, columns = complete.shape
    for k in range(len(planes)):
        middle = 4.0 * centre[k]
        for y in range(rows):
            top, below = planes[k, 2 * y], planes[k, 2 * y + 1]
            for x in range(columns):
                i = y * columns + x
                a, b = np.float64(top[2 * x]), np.float64(top[2 * x + 1])
                c, d = np.float64(below[2 * x]), np.float64(below[2 * x + 1])
                left, right, up, down = a + c, b + d, a - c, b - d
                keep = complete[y, x]
                level[k, i] = left + right - middle if keep else 0.0
                sides[k, i] = left - right if keep else 0.0
                sides[k, rows * columns + i] = up + down if keep else 0.0
                crosswise[k, i] = up - down if keep else 0.0
        total[k] += _total(level[k])


@compiled(fastmath={"reassoc"})
def _total(values: Any) -> Any:
    total = 0.0
    for i in range(values.size):
        total += np.float64(values[i])
    return total
