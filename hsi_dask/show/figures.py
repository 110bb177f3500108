"""Drawing on matplotlib axes: labelled arrays in memory in, labelled axes out; no global state is touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import SchemaError
from hsi_dask.ops.bands import single_wavelength
from hsi_dask.schema import ENDMEMBER, GRID_MAPPING, WAVELENGTH, X, Y
from hsi_dask.show.labels import labels_of
from hsi_dask.show.stretch import Stretch, stretch_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

# The wavelengths of red, green and blue in a picture, nm
BANDS = {"true": (665.0, 560.0, 490.0), "cir": (842.0, 665.0, 560.0)}
PICTURES = {"true": "true colour", "cir": "colour infrared"}
_FAR = 60.0  # nm: a wavelength farther from what was asked for would be another colour
_CLEAR = 6  # points between a scale bar and the edge of the map
_INK = "#222222"


def nearest_planes(cube: xr.DataArray, wavelengths: Sequence[float], far: float | None = _FAR) -> list[xr.DataArray]:
    """The planes (y, x) nearest to these wavelengths, in their order; lazy where the cube is.

    Raises
    ------
    SchemaError
        The array has no wavelengths, or none within `far` nm.
    """
    if WAVELENGTH not in cube.dims or WAVELENGTH not in cube.coords:
        raise SchemaError(f"{cube.name or 'the array'} has no dimension wavelength with nm; give a cube or spectra")
    known = np.asarray(cube[WAVELENGTH], np.float64)
    numbers = [int(np.abs(known - wanted).argmin()) for wanted in wavelengths]
    for wanted, number in zip(wavelengths, numbers, strict=True):
        if far is not None and abs(known[number] - wanted) > far:
            raise SchemaError(
                f"there is no wavelength near {wanted:g} nm, the nearest is {known[number]:.1f} nm; give others"
            )
    return [single_wavelength(cube, number) for number in numbers]


# ------------------------------------------------------------------------------------------------ maps


def draw_picture(ax: Axes, planes: Sequence[xr.DataArray]) -> AxesImage:
    """Red, green and blue planes (y, x) of reflectance as a picture, stretched alike; white where no data."""
    shown = picture_of(np.stack([np.asarray(plane, np.float32) for plane in planes]))
    image = ax.imshow(shown, extent=extent_of(planes[0]), interpolation="antialiased")
    furnish(ax, planes[0])
    return image


def picture_of(planes: NDArray[np.float32], stretch: Stretch | None = None) -> NDArray[np.uint8]:
    """(y, x, 4) RGBA of red, green and blue (3, y, x); clear where one is missing."""
    good = np.asarray(np.isfinite(planes).all(axis=0))
    stretch = stretch or stretch_of(planes[:, good])
    rgba = np.full((*good.shape, 4), 255, np.uint8)
    rgba[good, :3] = (stretch(planes[:, good]) * 255 + 0.5).T
    rgba[..., 3] = good * 255
    return rgba


def draw_plane(
    ax: Axes, plane: xr.DataArray, *, cmap: str, limits: tuple[float, float] | None = None, bar: bool = True
) -> AxesImage:
    """A plane (y, x) of numbers in colours of `cmap`, from the 1st to the 99th percentile unless told; with a bar."""
    values = np.asarray(plane, np.float32)
    good = values[np.isfinite(values)]
    low, high = limits or (np.percentile(good, (1, 99)) if good.size else (0.0, 1.0))
    image = ax.imshow(
        np.ma.masked_invalid(values), extent=extent_of(plane), cmap=cmap, vmin=low, vmax=max(high, low + 1e-9),
        interpolation="nearest" if max(values.shape) < 300 else "antialiased", interpolation_stage="data",
    )  # fmt: skip
    if bar:
        below, above = bool((good < low).any()), bool((good > high).any())
        extend = ("both" if above else "min") if below else ("max" if above else "neither")
        figure: Any = ax.figure
        beside = figure.colorbar(image, ax=ax, extend=extend, fraction=0.04, pad=0.02)
        beside.set_label(label_of(plane), parse_math=False)
    furnish(ax, plane)
    return image


def draw_categories(ax: Axes, values: xr.DataArray, table: NDArray[np.uint8]) -> AxesImage:
    """A plane (y, x) of whole numbers by a table (n, 4) of RGBA."""
    image = ax.imshow(table[np.asarray(values, np.intp)], extent=extent_of(values), interpolation="nearest")
    furnish(ax, values)
    return image


def extent_of(array: xr.DataArray) -> tuple[float, float, float, float]:
    """Outer edges (west, east, south, north) of y and x, metres; pixels where there are no coordinates."""
    sides = []
    for dim, sign in ((X, 1), (Y, -1)):
        size = array.sizes[dim]
        at = np.asarray(array[dim], np.float64) if dim in array.coords else sign * (np.arange(size) + 0.5)
        step = (at[-1] - at[0]) / (size - 1) if size > 1 else _other_step(array, dim) * sign
        sides.append((at[0] - step / 2, at[-1] + step / 2))
    (west, east), (north, south) = sides
    return west, east, south, north


def _other_step(array: xr.DataArray, dim: str) -> float:
    other = np.asarray(array[X if dim == Y else Y]) if (X if dim == Y else Y) in array.coords else np.zeros(1)
    return float(abs(other[1] - other[0])) if other.size > 1 else 1.0


def furnish(ax: Axes, array: xr.DataArray, *, inside: bool = True) -> None:
    """What makes an image a map: coordinates, equal sides, and inside it a scale bar and north."""
    from matplotlib.ticker import MaxNLocator

    ax.set_aspect("equal")
    ax.grid(visible=False)
    metres, degrees = are_metres(array), are_degrees(array)
    # in the corner two numbers would meet, and at the ends they would stick out
    figure: Any = ax.figure
    wide, tall = ax.bbox.width / figure.dpi, ax.bbox.height / figure.dpi  # inches
    for axis, prune, inches in ((ax.xaxis, "upper", wide), (ax.yaxis, "both", tall)):
        axis.set_major_locator(MaxNLocator(int(np.clip(inches / 0.8, 1, 4)), steps=[1, 2, 5, 10], prune=prune))
        axis.set_major_formatter(lambda value, _: f"{value / 1000 if metres else value:.7g}")
    ax.set_xlabel(f"easting (km{_zone(array)})" if metres else _axis_words(array, X), parse_math=False)
    ax.set_ylabel(("northing (km)" if metres else _axis_words(array, Y)) if tall > 1 else "", parse_math=False)
    ax.tick_params(axis="y", labelrotation=90)
    for label in ax.get_yticklabels():
        label.set_verticalalignment("center")
    if metres and inside:
        _add_scale_bar(ax)
    if metres or degrees:
        _add_north(ax)


def are_metres(array: xr.DataArray) -> bool:
    """Whether y and x are metres on the ground: said by their units or a CRS, else anything but numbers of pixels."""
    if not {X, Y} <= set(array.coords):
        return False
    units = {array[dim].attrs.get("units") for dim in (Y, X)} - {None}
    if units or GRID_MAPPING in array.coords:
        return units <= {"m", "metre", "meter"}
    return not all(_are_indices(np.asarray(array[dim])) for dim in (Y, X))


def are_degrees(array: xr.DataArray) -> bool:
    """Whether y and x are latitude and longitude."""
    return {X, Y} <= set(array.coords) and str(array[X].attrs.get("units", "")).startswith("degree")


def _are_indices(values: NDArray[Any]) -> bool:
    steps = set(np.abs(np.diff(values)).tolist())
    return bool(values.min() in (0, 1) and steps <= {1})


def _axis_words(array: xr.DataArray, dim: str) -> str:
    """ "x (pixel)", "longitude (degrees)"."""
    if are_degrees(array):
        return f"{'longitude' if dim == X else 'latitude'} (degrees)"
    attrs = array[dim].attrs if dim in array.coords else {}
    return f"{dim} ({attrs.get('units', 'pixel')})"


def _zone(array: xr.DataArray) -> str:
    attrs = array.coords[GRID_MAPPING].attrs if GRID_MAPPING in array.coords else {}
    name = str(attrs.get("projected_crs_name", ""))
    return f", {name.rpartition('/')[2].strip()}" if name else ""


def _outlined(width: float = 2.5) -> list[Any]:
    """To be seen on any ground."""
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground="white")]


def _add_scale_bar(ax: Axes) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, about a quarter of the map wide."""
    west, east = ax.get_xlim()
    south, north = ax.get_ylim()
    quarter = abs(east - west) / 4
    power = 10.0 ** np.floor(np.log10(quarter))
    length = float(max(step * power for step in (1, 2, 5) if step * power <= quarter))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    figure: Any = ax.figure
    clear = _CLEAR * figure.dpi / 72 / ax.bbox.height  # of a low map the bar would lie on the edge
    x, y = west + 0.04 * (east - west), south + max(0.04, clear) * (north - south)
    ax.plot([x, x + length], [y, y], color=_INK, linewidth=3, solid_capstyle="projecting", path_effects=_outlined(5.5))
    ax.annotate(
        text, (x + length / 2, y), (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize="small",
        color=_INK, path_effects=_outlined(),
    )  # fmt: skip
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)


def _add_north(ax: Axes) -> None:
    where: dict[str, Any] = {"xycoords": "axes fraction", "ha": "center", "color": _INK, "path_effects": _outlined()}
    ax.annotate("N", (0.95, 0.97), (0, -4), textcoords="offset points", va="top", fontsize="small", **where)
    ax.annotate("▲", (0.95, 0.97), (0, 2), textcoords="offset points", va="top", fontsize=6, **where)


def mark_places(ax: Axes, endmembers: xr.DataArray) -> None:
    """Where endmembers came from, as numbered dots in their colours; nothing where that is not known."""
    if not {X, Y} <= set(endmembers.coords):
        return
    labels = labels_of(endmembers)
    spectra = endmembers.transpose(ENDMEMBER, ...)
    for one, number, colour in zip(spectra, labels.numbers, labels.colours, strict=True):
        at = float(one[X]), float(one[Y])
        ax.plot(*at, "o", markersize=11, markerfacecolor=colour, markeredgecolor="white", markeredgewidth=1.4,
                clip_on=False)  # fmt: skip
        ax.annotate(
            str(number), at, ha="center", va="center_baseline", fontsize=7.5, fontweight="bold",
            color=ink_on(colour),
        )  # fmt: skip


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on this #rrggbb."""
    red, green, blue = bytes.fromhex(colour[1:])
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else _INK


# ------------------------------------------------------------------------------------------------ histograms


def draw_bins(
    ax: Axes,
    counts: NDArray[Any],
    edges: NDArray[Any],
    *,
    label: str,
    cmap: str | None = None,
    mean: float | None = None,
) -> None:
    """A histogram: the share of pixels by value, in the colours that the values have in maps; a line at the mean."""
    share = 100 * np.asarray(counts, np.float64) / max(float(np.sum(counts)), 1.0)
    colours: Any = "#56b4e9"
    if cmap:
        from matplotlib import colormaps

        colours = colormaps[cmap](np.linspace(0, 1, len(share)))
        ax.set_yscale("log")
        ax.set_ylim(0.01, 150)
        ax.set_yticks([0.01, 1, 100], ["0.01", "1", "100"], minor=False)
        ax.set_yticks([], minor=True)
    ax.bar(edges[:-1], share, np.diff(edges), align="edge", color=colours, linewidth=0)
    if mean is not None and np.isfinite(mean):
        ax.axvline(mean, color=_INK, linewidth=1.2, linestyle=(0, (3, 2)))
        right = mean < (edges[0] + edges[-1]) / 2
        text = share_text(mean) if cmap else f"{mean:.3g}"
        ax.annotate(
            f"mean {text}", (mean, 0.93), (4 if right else -4, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="left" if right else "right", va="top", fontsize="small", color=_INK,
            path_effects=_outlined(),
        )  # fmt: skip
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(label, parse_math=False)
    ax.set_ylabel("% of pixels")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def label_of(array: xr.DataArray) -> str:
    """What an array holds and in which units: "residual of ... (radian)"."""
    name, units = str(array.attrs.get("long_name") or array.name or "value"), array.attrs.get("units")
    return f"{name} ({units})" if units not in (None, "1", "") else name


def as_they_are(texts: Iterable[Text]) -> None:
    """Draw names as they are, "$" too."""
    for text in texts:
        text.set_parse_math(False)


def share_text(mean: float) -> str:
    """The mean of a fraction, alike in figures, report and tables.

    Examples
    --------
    >>> share_text(0.1996)
    '0.200'
    """
    return f"{mean:.3f}"
