"""Pictures of maps, for `.hsi`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

from hsi_dask.show.held import Held, new_axes, new_map_axes, reflectance, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_VALUES = 4_000_000  # that a histogram looks at


class MapPictures(Held):
    """What `.hsi` draws of maps."""

    def plot_abundances(self) -> Figure:
        """A map of every endmember's abundance, or material's fraction, on one scale; below it the histogram.

        Where the standard deviation is known, maps are hatched where the interval of 95 % is wider than 0.5.
        """
        from hsi_dask.show.panels import draw_fractions

        name = self._first("fraction")
        return draw_fractions(self._map(name), self._labels(name), self._uncertainty(name))

    def plot_composite(self, names: Sequence[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Three fractions as red, green and blue, such as ("soil", "vegetation", "litter").

        Without names those with the largest means of what is drawn. Black is none of the three.
        """
        from hsi_dask.show import figures, panels
        from hsi_dask.show.composites import channels, composite, largest, places_of

        name = self._first("fraction")
        maps, labels = self._map(name), self._labels(name)
        if names is not None or len(labels.names) < 3:
            places = places_of(labels, names or ())
        ax = ax or new_map_axes(maps[0], legend=True)
        thin = thinned(maps, ax)
        if names is None:
            thin = thin.compute()
            places = largest([float(plane) for plane in thin.mean(("y", "x"), dtype="float64")])
        shown = thin[list(places)].compute()
        ax.imshow(composite(shown.values), extent=figures.extent_of(shown), interpolation="antialiased")
        figures.furnish(ax, shown)
        panels.add_patches(ax, list(channels(labels.names, places).items()))
        ax.set_title(f"{figures.label_of(maps)}: red, green, blue", parse_math=False)
        return ax

    def plot_map(self, name: str, number: int | None = None, *, ax: Axes | None = None) -> Axes | Figure:
        """Any map by what it holds: classes and flags with their legend, numbers with a bar.

        A map with a plane for each endmember is drawn whole, as one figure, unless `number` says which.
        """
        from hsi_dask.errors import SchemaError
        from hsi_dask.show import figures, palettes, panels

        array, spec, labels = self._map(name), self._spec(name), self._labels(name)
        if spec.role == "class":
            return self.plot_classes(name, ax=ax)
        if spec.role == "flag":
            ax = ax or new_map_axes(array, legend=True)
            figures.draw_categories(ax, thinned(array, ax).compute(), palettes.quality_table())
            panels.add_flags(ax, array)
            return ax
        if array.ndim == 3 and number is None:
            return panels.draw_planes(array, spec, labels)
        if array.ndim == 3:
            if number not in labels.numbers:
                raise SchemaError(f"{name} has no {number}; it has {', '.join(map(str, labels.numbers))}")
            array = array[labels.numbers.index(number)]
        ax = ax or new_map_axes(array)
        figures.draw_plane(ax, thinned(array, ax).compute(), cmap=palettes.ramp_of(spec), limits=spec.limits)
        which = f": {dict(zip(labels.numbers, labels.names, strict=True))[number]}" if number else ""
        ax.set_title(f"{figures.label_of(array)}{which}", parse_math=False)
        return ax

    def plot_classes(self, method: str | None = None, *, ax: Axes | None = None) -> Axes:
        """A map of classes with a legend of those that occur.

        `method` is the name of a method or of a class map; without it, of a dataset, the first that is made of scores,
        or else of fractions.
        """
        from hsi_dask.show import figures, panels
        from hsi_dask.show.palettes import class_table

        name = self._class_map(method)
        classes, labels = self._map(name), self._labels(name)
        ax = ax or new_map_axes(classes, legend=True)
        shown = thinned(classes, ax).compute()
        figures.draw_categories(ax, shown, class_table(labels.numbers))
        panels.add_legend(ax, shown, labels)
        ax.set_title(figures.label_of(classes).replace("endmember of the ", "classes by "), parse_math=False)
        return ax

    def histogram(self, name: str | None = None, *, bins: int = 100, ax: Axes | None = None) -> Axes:
        """How often values occur, of an array or of the variable `name` of a dataset; of large ones of every n-th."""
        import numpy as np

        from hsi_dask.show import figures

        array = self._held if isinstance(self._held, xr.DataArray) else self._map(name or self._first("residual"))
        step = max(1, int(np.ceil(np.sqrt(array.size / _MOST_VALUES))))
        thin = {dim: slice(step // 2, None, step) for dim in ("y", "x") if dim in array.dims}
        values = np.asarray(reflectance(array).isel(thin))
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values[values != 255]
        ax = ax or new_axes()
        counts, edges = np.histogram(values, bins=bins, range=tuple(np.percentile(values, (0.1, 99.9))))
        mean = float(values.mean(dtype=np.float64)) if values.size else None
        figures.draw_bins(ax, counts, edges, label=figures.label_of(array), mean=mean)
        single = "wavelength" in array.coords and "wavelength" not in array.dims
        at = f" at {float(array['wavelength']):.1f} nm" if single else ""
        ax.set_title(f"{array.attrs.get('long_name') or array.name}{at}", parse_math=False)
        return ax
