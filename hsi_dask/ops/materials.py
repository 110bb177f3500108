"""Material maps: project every pixel once, then finish FCLS, SAM and SID from the same sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import groupby, pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.kernels.fcls import fcls, fcls_cvxopt, residual
from hsi_dask.kernels.nearest import nearest
from hsi_dask.kernels.projection import Operator, Sums, Weights, accumulate, operator, project, weights
from hsi_dask.kernels.sam import angles
from hsi_dask.kernels.sid import divergences
from hsi_dask.ops.source import PieceSource, Spread, find_source
from hsi_dask.schema import (
    CUBE_DIMS,
    ENDMEMBER,
    FLOOR,
    MAX_ENDMEMBERS,
    NO_CLASS,
    WAVELENGTH,
    X,
    Y,
    class_attrs,
    describe,
    describe_coordinates,
    require_dims,
    require_wavelengths,
)

Method = Literal["fcls", "sam", "sid"]
Solver = Literal["exact", "cvxopt"]
Threshold = float | Sequence[float] | None

_SCORES = {"sam": ("sam_angle", "sam_class", "radians"), "sid": ("sid_divergence", "sid_class", "nats")}
_FINISH_PIXELS = 2**18  # pixels finished by one task: enough to hide what dask takes for it, few enough to share them
_CACHED_PIXELS = 2**14  # finished at a time: what one step leaves the next one finds in cache
_WAITING = 2  # sums over blocks of wavelengths that wait for each other: each holds planes of all its pixels
_SHARE_PIXELS = 2**16  # of a plane that threads share: a few milliseconds of arithmetic


class _Finish(NamedTuple):
    """How sums become maps: the endmembers on the projection's basis, and which maps are wanted."""

    vertices: NDArray[np.float64]
    methods: tuple[str, ...]
    wavelengths: int
    solver: Solver


def map_materials(
    cube: xr.DataArray,
    endmembers: xr.DataArray,
    *,
    methods: Sequence[Method] = ("fcls", "sam", "sid"),
    thresholds: Mapping[str, Threshold] | None = None,
    solver: Solver = "exact",
) -> xr.Dataset:
    """Abundances, spectral angles, divergences and classes of every pixel, in one pass over the cube.

    Parameters
    ----------
    cube : (y, x, wavelength) reflectance, or the stored integers with `scale_factor` and `_FillValue` in
        attrs; numpy or dask, chunked in any way, along wavelength too.
    endmembers : (endmember, wavelength) reflectance on the cube's wavelengths.
    methods : any of "fcls", "sam", "sid".
    thresholds : {"sam": radians, "sid": nats}, each one number or one per endmember; see `threshold_classes`.
    solver : "exact", or "cvxopt" for the same programs solved one by one by cvxopt: slow, for reference.

    Returns
    -------
    Dataset of `abundance` and `residual` (fcls), `sam_angle` and `sam_class`, `sid_divergence` and
    `sid_class`. Lazy where the cube is. A pixel with a missing value is NaN, and 255 in classes.

    Notes
    -----
    Chunking does not change abundances and angles beyond the last float32 digit, nor divergences beyond 1e-6.
    SID floors reflectance at 1e-4, one digital number, in pixels and endmembers.

    Raises
    ------
    EndmemberError : endmembers on other wavelengths, not finite, all zero, none or more than 254.
    SchemaError : a dimension or coordinate is missing.
    ConfigError : an unknown method or thresholds that do not fit.

    References
    ----------
    Heinz & Chang (2001) for FCLS, Kruse et al. (1993) for SAM, Chang (2000) for SID.
    """
    wanted = _known_methods(methods)
    thresholds = dict(thresholds or {})
    if unknown := set(thresholds) - set(_SCORES):
        raise ConfigError(f"thresholds are for {' and '.join(_SCORES)}, not {sorted(unknown)[0]!r}")
    cube = require_dims(cube, CUBE_DIMS, "the cube")
    spectra = _checked_endmembers(cube, endmembers)
    count = spectra.shape[0]
    limits = {m: _limits(thresholds.get(m), count, m) for m in wanted if m in _SCORES}
    w = weights(spectra, divergence="sid" in wanted, floor=FLOOR)
    finish = _Finish(spectra @ w.basis.T, wanted, spectra.shape[1], solver)
    maps = _maps(cube, w, finish)
    coords = _map_coords(cube, endmembers, count)
    found: dict[str, xr.DataArray] = {}
    rows = _rows(wanted, count)
    if "fcls" in wanted:
        found["abundance"] = _labelled(maps[rows["abundance"]], "abundance", coords)
        found["residual"] = _labelled(maps[rows["residual"]][0], "residual", coords)
    for method, limit in limits.items():
        scores, classes, _ = _SCORES[method]
        found[scores] = _labelled(maps[rows[method]], scores, coords)
        found[classes] = _classes(found[scores], limit)
    return xr.Dataset(found)


def unmix(
    cube: xr.DataArray,
    endmembers: xr.DataArray,
    *,
    method: Literal["fcls"] = "fcls",
    solver: Solver = "exact",
) -> xr.Dataset:
    """Abundance of each endmember in each pixel, >= 0 and summing to 1, with the residual of the fit.

    The arguments and their errors are those of `map_materials`.

    Examples
    --------
    >>> wavelength = {"wavelength": [500.0, 900.0, 1600.0]}
    >>> em = xr.DataArray([[0.1, 0.5, 0.3], [0.2, 0.3, 0.4]], wavelength, ("endmember", "wavelength"))
    >>> cube = (0.25 * em[0] + 0.75 * em[1]).expand_dims(y=[1.5, 0.5], x=[0.5])
    >>> unmix(cube, em).abundance.isel(y=0, x=0).values.round(6)
    array([0.25, 0.75], dtype=float32)
    """
    if method != "fcls":
        raise ConfigError(f"method must be 'fcls', not {method!r}")
    return map_materials(cube, endmembers, methods=(method,), solver=solver)


def classify(
    cube: xr.DataArray,
    endmembers: xr.DataArray,
    *,
    method: Literal["sam", "sid"] = "sam",
    threshold: Threshold = None,
) -> xr.Dataset:
    """Score of each endmember and the class of the smallest: `sam_angle`, `sam_class` or `sid_...`.

    The arguments and their errors are those of `map_materials`.
    """
    if method not in _SCORES:
        raise ConfigError(f"method must be 'sam' or 'sid', not {method!r}")
    return map_materials(cube, endmembers, methods=(method,), thresholds={method: threshold})


def threshold_classes(scores: xr.DataArray, threshold: Threshold, *, relative: bool = False) -> xr.DataArray:
    """Classes from stored scores: endmembers above their threshold are out, the smallest of the rest wins.

    Parameters
    ----------
    scores : (endmember, y, x) `sam_angle` in radians or `sid_divergence` in nats.
    threshold : one number, or one per endmember; None lets the smallest win everywhere.
    relative : read each threshold as a fraction of that endmember's range over the whole of `scores`.

    Returns
    -------
    (y, x) uint8: 0 unclassified, 1..n the endmember, 255 no data. Equal scores go to the smaller number.

    Examples
    --------
    >>> angle = xr.DataArray(np.float32([[[0.1, 0.4]], [[0.3, 0.2]]]), dims=("endmember", "y", "x"), name="sam_angle")
    >>> threshold_classes(angle, 0.15).values
    array([[1, 0]], dtype=uint8)
    """
    scores = require_dims(scores, (ENDMEMBER, Y, X), "scores")
    limits = _limits(threshold, scores.sizes[ENDMEMBER], str(scores.name))
    if relative:
        low, high = scores.min((Y, X)), scores.max((Y, X))
        return _classes(scores, (low + (high - low) * limits).data)
    return _classes(scores, limits)


def _known_methods(methods: Sequence[Method]) -> tuple[str, ...]:
    known: tuple[str, ...] = get_args(Method)
    asked = (methods,) if isinstance(methods, str) else tuple(methods)
    for method in asked:
        if method not in known:
            raise ConfigError(f"methods must be among {', '.join(known)}, not {method!r}")
    if not asked:
        raise ConfigError(f"methods is empty; name some of {', '.join(known)}")
    return tuple(m for m in known if m in asked)


def _checked_endmembers(cube: xr.DataArray, endmembers: xr.DataArray) -> NDArray[np.float64]:
    endmembers = require_dims(endmembers, (ENDMEMBER, WAVELENGTH), "endmembers")
    require_wavelengths(cube, endmembers)
    spectra = np.asarray(endmembers, dtype=np.float64)
    if not 1 <= spectra.shape[0] <= MAX_ENDMEMBERS:
        raise EndmemberError(f"there must be 1 to {MAX_ENDMEMBERS} endmembers, not {spectra.shape[0]}")
    for number, spectrum in enumerate(spectra, 1):
        if not np.isfinite(spectrum).all():
            raise EndmemberError(f"endmember {number} has missing values; drop it or its bad wavelengths")
        if not spectrum.any():
            raise EndmemberError(f"endmember {number} is zero at every wavelength; drop it")
    return spectra


def _limits(threshold: Threshold, count: int, what: str) -> NDArray[np.float64]:
    """One threshold an endmember; None is no threshold."""
    if threshold is None:
        return np.full(count, np.inf)
    limits = np.asarray(threshold, dtype=np.float64)
    if limits.ndim > 1 or limits.size not in (1, count):
        raise ConfigError(f"{what} has {limits.size} thresholds for {count} endmembers; give one, or one each")
    if not (limits >= 0).all():
        raise ConfigError(f"thresholds of {what} must be >= 0, not {limits.min() if limits.size else limits}")
    return np.broadcast_to(limits.reshape(-1), (count,))


def _rows(methods: tuple[str, ...], count: int) -> dict[str, slice]:
    """Which planes of the finished maps belong to what."""
    sizes = {"abundance": count, "residual": 1} if "fcls" in methods else {}
    sizes |= {m: count for m in methods if m in _SCORES}
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


def _maps(cube: xr.DataArray, w: Weights, finish: _Finish) -> Any:
    """All finished planes as one (plane, y, x) float32 array, lazy where the cube is."""
    scale, fill = _storage(cube)
    if not hasattr(cube.data, "dask"):
        sums = _project(np.asarray(cube.data), w, scale, fill)
        return _finish(finish, cube.shape[1], slice(0, cube.shape[0]), sums)
    return _maps_graph(cube.data, w, finish, scale, fill)


def _storage(cube: xr.DataArray) -> tuple[float, float | None]:
    """Reflectance of one stored number, and the number that means no data."""
    if cube.dtype.kind == "f":
        return 1.0, None
    if "scale_factor" not in cube.attrs:
        raise SchemaError(f"the cube is {cube.dtype} without a scale_factor in attrs; divide it to reflectance first")
    fill = cube.attrs.get("_FillValue")
    return float(cube.attrs["scale_factor"]), None if fill is None else float(fill)


def _maps_graph(data: Any, w: Weights, finish: _Finish, scale: float, fill: float | None) -> Any:
    import dask.array as da
    from dask._task_spec import DataNode, Task, TaskRef
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    token = tokenize(data.name, *w, *finish, scale, fill)
    ys, xs, ws = data.chunks
    source = find_source(data) if data.dtype.kind in "iu" else None
    edges = [0, sum(ws)] if source else np.cumsum((0, *ws)).tolist()  # a task that reads takes all wavelengths
    parts = [np.arange(a, b) for a, b in pairwise(edges)]
    graph: dict[Any, Any] = {}
    for k, part in enumerate(parts):
        graph[f"weights-{token}", k] = DataNode((f"weights-{token}", k), w.take(part))
    how = DataNode(f"finish-{token}", finish)
    graph[how.key] = how
    name, strips = f"materials-{token}", [_strips(rows, max(xs)) for rows in ys]
    for i, j in np.ndindex(len(ys), len(xs)):
        sums = []
        for k in range(len(parts)):
            key = (f"project-{token}", i, j, k)
            weighted = TaskRef((f"weights-{token}", k))
            if source:
                place = (source.rows[i], source.columns[j], np.concatenate(source.wavelengths))
                graph[key] = Task(key, _project_pieces, source.array, place, weighted, scale, fill, len(ws) > 1)
            else:
                graph[key] = Task(key, _project, TaskRef((data.name, i, j, k)), weighted, scale, fill)
            sums.append(key)
        sums = _add_up(graph, f"sum-{token}", (i, j), sums)
        first = sum(len(s) for s in strips[:i])
        for s, rows in enumerate(strips[i]):
            key = (name, 0, first + s, j)
            graph[key] = Task(key, _finish, TaskRef(how.key), xs[j], rows, *map(TaskRef, sums))
    layered = HighLevelGraph.from_collections(name, graph, dependencies=[] if source else [data])
    planes = _rows(finish.methods, finish.vertices.shape[0]).values()
    heights = tuple(rows.stop - rows.start for s in strips for rows in s)
    return da.Array(layered, name, ((max(p.stop for p in planes),), heights, xs), dtype=np.float32)


def _strips(rows: int, width: int) -> list[slice]:
    """The rows of a block in parts that are finished by one task each."""
    height = max(1, _FINISH_PIXELS // max(1, width))
    return [slice(start, min(rows, start + height)) for start in range(0, rows, height)] or [slice(0, 0)]


def _add_up(graph: dict[Any, Any], name: str, at: tuple[int, int], parts: list[Any]) -> list[Any]:
    """Bring many partial sums down to a few, from the left: the order is fixed, and few are alive at a time."""
    from dask._task_spec import Task, TaskRef

    total, rest = parts[0], parts[1:]
    for step in range(0, len(rest) - _WAITING, _WAITING):
        key = (name, *at, step)
        graph[key] = Task(key, Sums.plus, TaskRef(total), *map(TaskRef, rest[step : step + _WAITING]))
        total = key
    return [total, *rest[-((len(rest) - 1) % _WAITING + 1) :]] if len(rest) > _WAITING else parts


def _project(block: NDArray[Any], w: Weights, scale: float, fill: float | None) -> Sums:
    """Sums of a block in memory."""
    planes = np.moveaxis(block, 2, 0)
    return project(planes.reshape(planes.shape[0], -1), w, scale=scale, fill=fill)


def _project_pieces(array: PieceSource, key: Any, w: Weights, scale: float, fill: float | None, together: bool) -> Sums:
    """Sums of what a key asks of an array, piece by piece: a stored chunk is used while it is in cache.

    `together` is for what would be many blocks but for its sums, of which there are not to be many: threads that
    dask has nothing else for share the reads of a piece, and then its pixels.
    """
    height, width = (k.stop - k.start for k in key[:2])
    whole = Sums.empty(w, height * width)
    operators: dict[tuple[int, int], Operator] = {}
    with ThreadPoolExecutor(_threads()) if together else nullcontext() as pool:
        spread: Spread = pool.map if pool else map
        for (rows, columns), pieces in groupby(array.pieces(key, spread), key=lambda piece: piece.place[:2]):
            size = (rows.stop - rows.start) * (columns.stop - columns.start)
            sums = whole if size == height * width else Sums.empty(w, size)
            shares = [slice(start, start + _SHARE_PIXELS) for start in range(0, size, _SHARE_PIXELS)]
            for number, piece in enumerate(pieces):
                part = piece.place[2]
                how = operators.get((part.start, part.stop)) or operator(w.take(part), scale=scale, fill=fill)
                operators[part.start, part.stop] = how
                planes = piece.values.transpose(2, 0, 1).reshape(-1, size)
                for _ in spread(partial(accumulate, planes, how, sums, overwrite=number == 0), shares):
                    pass
            if sums is not whole:
                for plane, part_of_plane in zip(whole, sums, strict=True):
                    _on_grid(plane, height)[..., rows, columns] = _on_grid(part_of_plane, rows.stop - rows.start)
    return whole


def _threads() -> int:
    """As many threads as dask was told to use, or has cores."""
    import dask
    from dask.system import CPU_COUNT

    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def _on_grid(plane: NDArray[np.float64], height: int) -> NDArray[np.float64]:
    """Planes of pixels as planes of rows and columns; one that was left out stays empty."""
    return plane.reshape(*plane.shape[:-1], height, plane.shape[-1] // height)


def _finish(finish: _Finish, width: int, rows: slice, *parts: Sums) -> NDArray[np.float32]:
    """The finished planes of some rows, from the sums over parts of the wavelengths: (plane, rows, width) float32."""
    where = _rows(finish.methods, finish.vertices.shape[0])
    first, stop = rows.start * width, rows.stop * width
    planes = np.empty((max(s.stop for s in where.values()), stop - first), np.float32)
    for start in range(first, stop, _CACHED_PIXELS):
        pixels = slice(start, min(start + _CACHED_PIXELS, stop))
        sums, *others = [part.take(pixels) for part in parts]
        _finish_some(
            finish, sums.plus(*others) if others else sums, where, planes[:, start - first : pixels.stop - first]
        )
    return planes.reshape(-1, rows.stop - rows.start, width)


def _finish_some(finish: _Finish, sums: Sums, where: dict[str, slice], planes: NDArray[np.float32]) -> None:
    if "fcls" in finish.methods:
        solve = fcls if finish.solver == "exact" else fcls_cvxopt
        abundance = solve(sums.projections, finish.vertices)
        planes[where["abundance"]] = abundance
        planes[where["residual"]] = residual(
            sums.projections, sums.energy, finish.vertices, abundance, finish.wavelengths
        )
    if "sam" in finish.methods:
        planes[where["sam"]] = angles(sums.projections, sums.energy, finish.vertices)
    if "sid" in finish.methods:
        planes[where["sid"]] = divergences(sums.total, sums.forward, sums.backward)


def _classes(scores: xr.DataArray, limits: Any) -> xr.DataArray:
    name = str(scores.name).rpartition("_")[0] + "_class"
    if hasattr(scores.data, "dask") or hasattr(limits, "dask"):
        import dask.array as da

        data = da.blockwise(
            _nearest,
            "yx",
            da.asarray(scores.data),
            "eyx",
            da.asarray(limits),
            "e",
            dtype=np.uint8,
            concatenate=True,
        )
    else:
        data = _nearest(np.asarray(scores.data), limits)
    coords = {k: v for k, v in scores.coords.items() if ENDMEMBER not in v.dims}
    count = scores.sizes[ENDMEMBER]
    if f"{name}" not in {"sam_class", "sid_class"}:
        return xr.DataArray(data, coords, (Y, X), "class", class_attrs(count) | {"_FillValue": NO_CLASS})
    return describe(xr.DataArray(data, coords, (Y, X)), name, **class_attrs(count))


def _nearest(scores: NDArray[np.float32], limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    count, *size = scores.shape
    return nearest(scores.reshape(count, -1), limits, NO_CLASS).reshape(size)


def _map_coords(cube: xr.DataArray, endmembers: xr.DataArray, count: int) -> dict[Any, Any]:
    coords = {k: v for k, v in cube.coords.items() if WAVELENGTH not in v.dims}
    numbers = xr.Variable(ENDMEMBER, np.arange(1, count + 1))
    coords[ENDMEMBER] = numbers
    describe_coordinates({ENDMEMBER: numbers})
    return coords


def _labelled(data: Any, name: str, coords: dict[Any, Any]) -> xr.DataArray:
    dims = (ENDMEMBER, Y, X) if data.ndim == 3 else (Y, X)
    return describe(
        xr.DataArray(data, {k: v for k, v in coords.items() if k != ENDMEMBER or data.ndim == 3}, dims), name
    )
