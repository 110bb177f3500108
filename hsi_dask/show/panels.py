"""Figures of several maps, and legends: what the accessor draws of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsi_dask.schema import FLAGS, Variable, X, Y
from hsi_dask.show import figures
from hsi_dask.show.facts import usual_range
from hsi_dask.show.labels import Labels
from hsi_dask.show.palettes import GOOD_COLOUR, SEQUENTIAL, flag_colour, ramp_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROOM = 600  # pixels along a side of a map in a figure of several
_NOT_SURE = 0.25 / 1.96  # standard deviation of a fraction from which on a map is hatched
_MOST_LEGEND = 25  # classes in a column of a legend


def draw_fractions(maps: xr.DataArray, labels: Labels, unsure: xr.DataArray | None = None) -> Figure:
    """A map of each fraction on one scale, below it the histogram of all pixels; hatched where it is not sure.

    Not sure is where the interval of 95 % reaches farther than 0.25 to either side.
    """
    figure, axes = _grid(maps, below=0.9)
    panels = []
    for number, (plane, name, (above, below)) in enumerate(zip(maps, labels.names, axes, strict=True)):
        image = figures.draw_plane(above, _thin(plane).compute(), cmap=SEQUENTIAL, limits=(0.0, 1.0), bar=False)
        counts, edges, mean = _distribution(plane)
        figures.draw_bins(below, counts, edges, label=str(maps.name), cmap=SEQUENTIAL, mean=mean)
        if unsure is not None:
            _hatch(above, _thin(unsure[number]).compute())
        above.set_title(f"{name}: mean {figures.share_text(mean)}", parse_math=False)
        panels.append(above)
    bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30)
    bar.set_label(str(maps.name), parse_math=False)
    told = "" if unsure is None else "; hatched where its 95 % interval is wider than 0.5"
    figure.suptitle(f"{figures.label_of(maps)}{told}", parse_math=False)
    return figure


def _hatch(ax: Axes, std: xr.DataArray) -> None:
    where = std.values > _NOT_SURE
    if where.any() and min(where.shape) > 1:
        ax.contourf(where, levels=[0.5, 1.5], colors="none", hatches=["/////"], extent=figures.extent_of(std),
                    origin="upper")  # fmt: skip


def draw_planes(maps: xr.DataArray, spec: Variable, labels: Labels) -> Figure:
    """A map of each plane, all on one scale."""
    figure, axes = _grid(maps, below=0.0)
    thin = [_thin(plane).compute() for plane in maps]
    limits = spec.limits or usual_range(np.stack([plane.values for plane in thin]).astype(np.float32))
    for plane, name, (ax, _) in zip(thin, labels.names, axes, strict=True):
        image = figures.draw_plane(ax, plane, cmap=ramp_of(spec), limits=limits, bar=False)
        ax.set_title(name, parse_math=False)
    bar = figure.colorbar(image, ax=[ax for ax, _ in axes], shrink=0.6, aspect=30)
    bar.set_label(figures.label_of(maps), parse_math=False)
    return figure


def draw_components(maps: xr.DataArray) -> Figure:
    """A map of each plane, each on a scale of its own, with its eigenvalue where that is known."""
    figure, axes = _grid(maps, below=0.0)
    eigenvalues = np.atleast_1d(maps.attrs.get("eigenvalues", ()))
    numbers = np.asarray(maps[maps.dims[0]])
    for plane, number, (ax, _) in zip(maps, numbers, axes, strict=True):
        thin = _thin(plane).compute()
        figures.draw_plane(ax, thin, cmap="gray", limits=usual_range(thin.values), bar=False)
        known = number - 1 < eigenvalues.size
        ax.set_title(f"{number}: eigenvalue {eigenvalues[number - 1]:.4g}" if known else str(number))
    figure.suptitle(figures.label_of(maps), parse_math=False)
    return figure


def _distribution(plane: xr.DataArray) -> tuple[Any, Any, float]:
    """Counts in 50 bins over [0, 1], their edges and the mean, of all pixels, block by block."""
    edges = np.linspace(0, 1, 51)
    if hasattr(plane.data, "dask"):
        import dask.array as da
        from dask.base import compute

        values = plane.data
        counts = da.histogram(da.where(da.isnan(values), -1, values), bins=edges)[0]
        counts, total, known = compute(
            counts, da.nansum(values, dtype=np.float64), (~da.isnan(values)).sum(dtype=np.int64)
        )
    else:
        good = plane.values[np.isfinite(plane.values)]
        counts, total, known = np.histogram(good, bins=edges)[0], good.sum(dtype=np.float64), good.size
    return counts, edges, float(total / known) if known else float("nan")


def _grid(maps: xr.DataArray, below: float) -> tuple[Figure, list[tuple[Axes, Any]]]:
    """A figure with axes for each plane, and others below them so many inches high."""
    import matplotlib.pyplot as plt

    count = maps.shape[0]
    columns = 2 if count == 4 else min(count, 3)
    rows, high = -(-count // columns), 3.2 * min(maps.sizes[Y] / maps.sizes[X], 2.0)
    more = 1.6 if below else 0.5
    figure = plt.figure(figsize=(3.4 * columns + 0.6, rows * (high + more)), layout="constrained")
    each = 2 if below else 1
    grid = figure.add_gridspec(each * rows, columns, height_ratios=([high, below] if below else [high]) * rows)
    axes = []
    for number in range(count):
        row, column = divmod(number, columns)
        above = figure.add_subplot(grid[each * row, column])
        axes.append((above, figure.add_subplot(grid[each * row + 1, column]) if below else None))
    return figure, axes


def _thin(plane: xr.DataArray) -> xr.DataArray:
    step = max(1, -(-max(plane.sizes[Y], plane.sizes[X]) // _ROOM))
    return plane.isel({Y: slice(step // 2, None, step), X: slice(step // 2, None, step)})


def add_legend(ax: Axes, classes: xr.DataArray, labels: Labels) -> None:
    """The classes that occur, beside the map."""
    found = set(np.unique(classes.values).tolist())
    first, *rest = labels.classes
    entries = [labels.classes[value] for value in (*rest, first) if value in found]
    add_patches(ax, entries)


def add_flags(ax: Axes, quality: xr.DataArray) -> None:
    """The reasons that occur, beside the map."""
    found = int(np.bitwise_or.reduce(np.asarray(quality), axis=None))
    names = [name for name, bit in FLAGS.items() if found & bit and name not in ("no_data", "outside")]
    add_patches(ax, [("good", GOOD_COLOUR), *((name.replace("_", " "), flag_colour(name)) for name in names)])


def add_patches(ax: Axes, entries: list[tuple[str, str]]) -> None:
    """A legend of names and colours beside the map."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=name) for name, colour in entries]
    legend = ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small",
                       ncols=-(-len(handles) // _MOST_LEGEND))  # fmt: skip
    figures.as_they_are(legend.get_texts())
