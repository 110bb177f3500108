"""A spectral library as mixture models need it, and how many models it makes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LIMIT = 10_000_000  # models: about 3 ms a pixel, an hour for a million pixels on one core


class Library(NamedTuple):
    """Spectra of several materials on an orthonormal basis of their span.

    vertices : (L, r) float64, the spectra on that basis, in the unit of the pixels.
    material : (L,) int, the material of each, 0 .. materials - 1; a material may have none.
    materials : how many there are.
    wavelengths : how many the pixels have.
    shade : (r,) float64, the spectrum of shade on the same basis; None: zero, photometric shade.
    """

    vertices: Floats
    material: NDArray[np.integer]
    materials: int
    wavelengths: int
    shade: Floats | None = None


class Ordered(NamedTuple):
    """A library with its spectra sorted by material, and shade subtracted.

    order : (L,) which spectrum of the library stands at each place.
    vertices : (L, r). gram : (L, L), their products.
    starts : (materials + 1,), where the spectra of each material start.
    """

    order: NDArray[np.int64]
    vertices: Floats
    gram: Floats
    starts: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Spectra of each material."""
        return np.diff(self.starts)


def count_models(sizes: Sequence[int] | NDArray[np.integer], max_materials: int, min_materials: int = 1) -> int:
    """How many models of `min_materials` to `max_materials` materials there are.

    Parameters
    ----------
    sizes : spectra of each material.
    max_materials, min_materials : materials in a model, shade not counted.

    Examples
    --------
    >>> count_models([30, 30, 30], 3)
    29790
    """
    groups = [int(size) for size in sizes]
    levels = range(min_materials, max_materials + 1)
    return sum(prod(group) for level in levels for group in combinations(groups, level))


def require_count(sizes: NDArray[np.integer], max_materials: int, min_materials: int = 1) -> None:
    """ValueError where a library makes more models than can be tried."""
    count = count_models(sizes, max_materials, min_materials)
    if count > LIMIT:
        raise ValueError(
            f"{sizes.sum()} spectra make {count} models of up to {max_materials} materials, more than {LIMIT}; "
            f"reduce the library (hsi-dask library), or max_materials"
        )


def ordered(library: Library, min_materials: int, max_materials: int) -> Ordered:
    """Sort a library by material; ValueError where it or the number of its models is not usable."""
    vertices = np.asarray(library.vertices, np.float64)
    material = np.asarray(library.material)
    if vertices.ndim != 2 or not vertices.size or material.shape != vertices.shape[:1]:
        raise ValueError(
            f"vertices (L, r) and material (L,) must share L, at least 1; they have shapes "
            f"{vertices.shape} and {material.shape}"
        )
    if not np.isfinite(vertices).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(vertices))} vertex coordinates are not finite")
    unknown = material[(material < 0) | (material >= library.materials)]
    if unknown.size:
        raise ValueError(f"materials are numbered 0 to {library.materials - 1}; one spectrum has {unknown[0]}")
    if not 1 <= min_materials <= max_materials:
        raise ValueError(f"models of {min_materials} to {max_materials} materials: at least 1, and in this order")
    sizes = np.bincount(material, minlength=library.materials)
    if np.count_nonzero(sizes) < min_materials:
        raise ValueError(
            f"models have at least {min_materials} materials, but only {np.count_nonzero(sizes)} have spectra; "
            f"lower min_materials"
        )
    require_count(sizes, max_materials, min_materials)
    order = np.argsort(material, kind="stable")
    spectra = np.ascontiguousarray(vertices[order] - (0.0 if library.shade is None else library.shade))
    return Ordered(order, spectra, spectra @ spectra.T, np.concatenate([[0], np.cumsum(sizes)]))


def combinations_of(sizes: NDArray[np.int64], level: int) -> NDArray[np.int64]:
    """Materials of each group of `level` of them that have spectra, (groups, level)."""
    groups = list(combinations(np.flatnonzero(sizes).tolist(), level))
    return np.array(groups, np.int64).reshape(len(groups), level)


def shaded(coordinates: Floats, energy: Floats, library: Library) -> tuple[Floats, Floats]:
    """Coordinates (r, n) and energy (n,) of the pixels, the shade spectrum subtracted."""
    z, energy = _read_only(coordinates), _read_only(energy)
    r = library.vertices.shape[1]
    if z.ndim != 2 or len(z) != r or energy.shape != z.shape[1:]:
        raise ValueError(
            f"coordinates (r, n) and energy (n,) must share n, and r = {r} with the library; "
            f"they have shapes {z.shape} and {energy.shape}"
        )
    if library.shade is None:
        return z, energy
    shade = np.asarray(library.shade, np.float64)
    return _read_only(z - shade[:, None]), _read_only(energy - 2 * (shade @ z) + shade @ shade)


def _read_only(values: NDArray[np.floating[Any]]) -> Floats:
    """Contiguous and read-only, as dask hands over both kinds: one kind, one compilation."""
    kept = np.ascontiguousarray(values, np.float64).view()
    kept.flags.writeable = False
    return kept
