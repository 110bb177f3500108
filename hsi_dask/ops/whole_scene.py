"""N-FINDR over every pixel of a cube: candidates from a sample, then all pixels, until none enlarges the simplex."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.kernels.extraction import whole_scene as kernel
from hsi_dask.kernels.extraction.whole_scene import Planes, Question, Ranked, Space, Vertices
from hsi_dask.kernels.projection import Sums, Weights
from hsi_dask.ops.kept_pixels import KeptPixels
from hsi_dask.ops.passes import Finish, finished_planes
from hsi_dask.ops.sampling import labelled, pixels_at
from hsi_dask.schema import FLOOR, PIXEL, X, Y, members_attrs

SAMPLE = 20_000
_IN_MEMORY = 2**30  # bytes of planes; more are kept in a temporary file


class Begun(NamedTuple):
    """A search over a whole scene as its sample leaves it.

    space : where pixels are compared.
    points : (count, r) the sample's vertices.
    reference : (k, r) some of its pixels.
    sample : (n, r) all of them.
    """

    space: Space
    points: NDArray[np.float64]
    reference: NDArray[np.float64]
    sample: NDArray[np.float64]


def begin(
    sample: xr.DataArray,
    chosen: NDArray[np.intp],
    seed: int,
    known: NDArray[np.float64] | None = None,
    endmembers: xr.DataArray | None = None,
) -> Begun:
    """The search after endmembers were found among sampled pixels (pixel, wavelength), at the indices `chosen`.

    known : (r, L) a basis that planes were made of already; it is used if it holds the endmembers that were found.
    """
    spectra = np.asarray(sample)
    basis = kernel.basis_of(spectra, len(chosen))
    if known is not None and endmembers is not None and _serves(known, basis, np.asarray(endmembers)):
        basis = known
    some = np.random.default_rng(seed).choice(len(spectra), min(kernel.REFERENCE, len(spectra)), replace=False)
    # as float32, which planes are: a pixel of the sample is the very point that it is in the scene
    every = (spectra.astype(np.float64) @ basis.T).astype(np.float32).astype(np.float64)
    return Begun(kernel.space_of(every, basis, len(chosen)), every[chosen], every[np.sort(some)], every)


def _serves(known: NDArray[np.float64], own: NDArray[np.float64], endmembers: NDArray[Any]) -> bool:
    return known.shape[1] == own.shape[1] and len(known) >= len(own) and kernel.holds(known, own, endmembers)


def projected(cube: xr.DataArray, basis: NDArray[np.float64], kept: KeptPixels | None = None) -> Any:
    """(r, y, x) float32, lazy where the cube is: what is asked of every pixel is asked of these planes.

    kept : pixels whose spectra are kept when the planes are computed, if the cube is read from a file.
    """
    nothing = np.empty((0, basis.shape[1]))
    finish = Finish(((_projections, None),), {"planes": slice(1, len(basis) + 1)})
    through = None if kept is None else kept.through
    return finished_planes(cube, Weights(basis, nothing, nothing, FLOOR), finish, through)[1:]


def _projections(_: None, sums: Sums) -> Mapping[str, NDArray[Any]]:
    return {"planes": sums.projections}


def search_cube(
    cube: xr.DataArray, sample: xr.DataArray, chosen: NDArray[np.intp], *, seed: int, robust: bool
) -> Vertices:
    """The vertices among all pixels of a cube; pixels are numbered row by row."""
    begun = begin(sample, chosen, seed)
    planes = _kept(projected(cube, begun.space.basis)).reshape(len(begun.space.basis), -1)

    def ask(question: Question) -> Ranked:
        return kernel.answer(planes, 0, begun.space, question)

    numbers: NDArray[np.int64] = (
        np.asarray(sample["row"])[chosen] * cube.sizes[X] + np.asarray(sample["column"])[chosen]
    )
    return kernel.search(ask, begun.space, numbers, begun.reference, begun.points, sample=begun.sample, robust=robust)


def _kept(planes: Any) -> Planes:
    """Planes in memory, or where they are large in a file that has no name and goes with them."""
    if not hasattr(planes, "dask"):
        return np.asarray(planes)
    if planes.nbytes <= _IN_MEMORY:
        return np.asarray(planes.compute())
    import dask.array as da

    with tempfile.TemporaryFile() as file:
        kept = np.memmap(file, np.float32, "w+", shape=planes.shape)
    da.store(planes, kept, lock=False)
    return kept


def endmembers_of(cube: xr.DataArray, sample: xr.DataArray, found: Vertices) -> xr.DataArray:
    """(pixel, wavelength) float32, the mean spectrum of each vertex's members, at the place of the vertex itself."""
    wanted = members_to_read(found)
    spectra = np.asarray(pixels_at(cube, _places(cube, wanted))) if wanted.size else np.empty((0, 0), np.float32)
    return labelled(cube, _places(cube, found.pixels), mean_spectra(found, sample.values, wanted, spectra))


def members_to_read(found: Vertices) -> NDArray[np.int64]:
    """Numbers of the pixels, ascending, that endmembers are the means of, and that the sample does not have."""
    every = found.members[found.sampled[:, 0] < 0]
    return np.unique(every[every >= 0])


def mean_spectra(
    found: Vertices, sample: NDArray[Any], numbers: NDArray[np.int64], spectra: NDArray[Any]
) -> NDArray[np.float32]:
    """(count, wavelength) the mean of each vertex's members, of which those with these numbers have these spectra."""
    means = [
        sample[inside] if inside[0] >= 0 else spectra[np.searchsorted(numbers, members[members >= 0])]
        for members, inside in zip(found.members, found.sampled, strict=True)
    ]
    return np.stack([some.mean(axis=0, dtype=np.float64) for some in means]).astype(np.float32)


def _places(cube: xr.DataArray, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack(np.divmod(numbers, cube.sizes[X]))


def told(
    found: Vertices, first: xr.DataArray, sample: xr.DataArray, at: Callable[[NDArray[np.int64]], Mapping[str, Any]]
) -> dict[str, Any]:
    """What attributes say of a search that began with the endmembers of a sample, and what it proves.

    at : `y` and `x` of pixels by their numbers, where they are known.
    """
    robust = bool(first.attrs["robust"])
    of_first = {name: value for name, value in first.attrs.items() if not name.startswith(("dropped", "members"))}
    return of_first | {
        "sample": sample.sizes[PIXEL], "pixels": found.known, "volume": math.exp(found.log_volume),
        "log_volume": found.log_volume, "rounds": found.rounds, "gain": found.gain,
        "certificate": f"no {'supported ' if robust else ''}pixel of {found.known} enlarges the volume by more than "
        f"{max(found.gain, kernel.GAIN):.0e} of itself",
        **(_told_of_support(found, sample, at) if robust else {}),
    }  # fmt: skip


def _told_of_support(
    found: Vertices, sample: xr.DataArray, at: Callable[[NDArray[np.int64]], Mapping[str, Any]]
) -> dict[str, Any]:
    """What attributes say of pixels that are alike, and of those that are like no other."""
    inside, members = found.sampled >= 0, {}
    for dim, values in at(found.members.ravel()).items():
        places = np.where(found.members < 0, np.nan, np.reshape(values, found.members.shape))
        members[dim] = np.where(inside, sample[dim].values[found.sampled], places)
    dropped = {f"dropped_{dim}": np.asarray(values).tolist() for dim, values in at(found.dropped).items()}
    support = {"support": found.support.tolist(), "dropped_support": found.dropped_support.tolist()}
    return {**support, **dropped, **members_attrs(found.angles, members)}


def places_in(cube: xr.DataArray) -> Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]]:
    """`y` and `x` of the pixels of a cube by their numbers, as far as it has these coordinates."""
    known = [dim for dim in (Y, X) if dim in cube.coords]

    def at(numbers: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        places = dict(zip((Y, X), _places(cube, numbers), strict=True))
        return {dim: np.asarray(cube[dim])[places[dim]] for dim in known}

    return at
