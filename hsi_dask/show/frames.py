"""Maps as images that a page can hold itself. Coordinates, scale bar and north are drawn once, for maps of one size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.schema import X, Y
from hsi_dask.show import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCH = 110  # CSS pixels on the page
_DENSITY = 180  # pixels an inch: sharp on dense screens, small enough for many maps
_MARGIN = 0.5, 0.1, 0.06, 0.42  # inches beside a map: left, right, top, bottom
_GREYS = 32  # colours of a map's furniture
_MOST_COLOURS = 256 - _GREYS


class Picture(NamedTuple):
    """An image that a page can hold itself: its data as an address, and how wide it is at its best, CSS pixels."""

    src: str
    width: int


def encoded(kind: str, data: bytes, width: float) -> Picture:
    """An image of this kind (png, jpeg, svg+xml), so many inches wide."""
    return Picture(f"data:image/{kind};base64," + base64.b64encode(data).decode(), round(width * INCH))


def map_figure(sizes: tuple[int, int], width: float) -> tuple[Figure, Axes]:
    """A figure that a map of (y, x) pixels fills; so wide unless it would be more than twice as tall."""
    from matplotlib.figure import Figure

    left, right, top, bottom = _MARGIN
    wide = width - left - right
    tall = wide * sizes[0] / sizes[1]
    if tall > 1.6 * width:
        tall, wide = 1.6 * width, 1.6 * width * sizes[1] / sizes[0]
    whole = max(left + wide + right, 2.4), max(bottom + tall + top, 0.9)
    figure = Figure(figsize=whole, dpi=_DENSITY)
    return figure, figure.add_axes((left / whole[0], bottom / whole[1], wide / whole[0], tall / whole[1]))


def drawn(figure: Figure) -> Any:
    """A figure's pixels, as PIL has them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()))


@dataclass(frozen=True)
class Frame:
    """What stands around and above a map.

    Attributes
    ----------
    over : RGBA, clear where the map shows
    box : of the map in it: left, top, right, bottom, pixels
    width : inches
    """

    over: Any
    box: tuple[int, int, int, int]
    width: float

    @property
    def size(self) -> tuple[int, int]:
        left, top, right, bottom = self.box
        return right - left, bottom - top

    def photo(self, rgba: NDArray[np.uint8]) -> Picture:
        """A picture (y, x, 4) as JPEG."""
        from PIL import Image

        whole = Image.new("RGB", self.over.size, "white")
        part = Image.fromarray(rgba).resize(self.size, Image.Resampling.BICUBIC)
        whole.paste(part, self.box, part)
        whole.paste(self.over, (0, 0), self.over)
        stream = io.BytesIO()
        whole.save(stream, "JPEG", quality=88, subsampling=0)
        return encoded("jpeg", stream.getvalue(), self.width)

    def plane(self, values: NDArray[np.float32], limits: tuple[float, float], colours: NDArray[np.uint8]) -> Picture:
        """Numbers (y, x) in colours (256, 3) between limits, NaN white, as PNG."""
        last = _MOST_COLOURS - 2
        scaled = np.clip((self._fitted(values) - limits[0]) / max(limits[1] - limits[0], 1e-9), 0, 1) * last + 0.5
        known = np.isfinite(scaled)
        index = np.where(known, np.where(known, scaled, 0), last + 1).astype(np.uint8)
        ramp = colours[np.linspace(0, 255, last + 1).round().astype(int)]
        return self._indexed(index, np.vstack([ramp, [[255, 255, 255]]]))

    def categories(self, values: NDArray[np.integer[Any]], table: NDArray[np.uint8]) -> Picture:
        """Whole numbers (y, x) by a table (n, 4) of RGBA, clear ones white, as PNG."""
        from PIL import Image

        found, index = np.unique(values, return_inverse=True)
        colours = np.where(table[found, 3:] > 0, table[found, :3], 255)
        whole = Image.fromarray(index.reshape(values.shape).astype(np.int32))
        index = np.asarray(whole.resize(self.size, Image.Resampling.NEAREST))
        return self._indexed(index, colours)

    def _fitted(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """As many pixels as the map has here: means of those with data where it has fewer, else the nearest."""
        from PIL import Image

        good = np.isfinite(values)
        shrinks = self.size[0] < values.shape[1]
        how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
        planes = (np.where(good, values, 0).astype(np.float32), good.astype(np.float32))
        total, share = (np.asarray(Image.fromarray(plane).resize(self.size, how)) for plane in planes)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(share >= 0.5, total / share, np.float32(np.nan))

    def _indexed(self, index: NDArray[Any], colours: NDArray[Any]) -> Picture:
        """A map of indices into a few colours, and the frame in greys: exact colours, and a quarter of the bytes."""
        from PIL import Image

        left, top, right, bottom = self.box
        ground = np.full(self.over.size[::-1], len(colours), np.int32)  # the first grey is white
        ground[top:bottom, left:right] = index
        ink = np.asarray(self.over)
        alpha = ink[..., 3].astype(np.float32) / 255
        level = (1 - ink[..., :3].mean(axis=-1) / 255) * alpha * (_GREYS - 1) + 0.5
        seen = alpha > 0
        seen[top:bottom, left:right] = alpha[top:bottom, left:right] > 0.5
        ground[seen] = len(colours) + level[seen].astype(np.int32)
        greys = np.repeat(np.linspace(255, 0, _GREYS)[:, None], 3, axis=1)
        palette = np.vstack([colours, greys]).round().astype(np.uint8)
        if len(palette) > 256:
            image = Image.fromarray(palette[ground])
        else:
            image = Image.fromarray(ground.astype(np.uint8))
            image.putpalette(palette.tobytes())
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return encoded("png", stream.getvalue(), self.width)


def frame_of(array: xr.DataArray, width: float, places: xr.DataArray | None = None) -> Frame:
    """The frame of maps with these y and x, so many inches wide; with dots at the places of endmembers."""
    figure, ax = map_figure((array.sizes[Y], array.sizes[X]), width)
    figure.patch.set_alpha(0)
    ax.patch.set_alpha(0)
    west, east, south, north = figures.extent_of(array)
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)
    if places is not None:
        figures.mark_places(ax, places)
    figures.furnish(ax, array)
    over = drawn(figure)
    x0, y0, x1, y1 = (round(side) for side in ax.get_window_extent().extents)
    return Frame(over, (x0, over.height - y1, x1, over.height - y0), figure.get_figwidth())
