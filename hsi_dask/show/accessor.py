"""`.hsi` on xarray's arrays and datasets: pictures of cubes, spectra and results in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import xarray as xr

# numpy and matplotlib come with the first picture: registering costs nothing beside xarray
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_VALUES = 4_000_000  # that a histogram looks at


@xr.register_dataset_accessor("hsi")
@xr.register_dataarray_accessor("hsi")
class Pictures:
    """Pictures of a cube, of endmembers or of results.

    Every method draws with matplotlib on `ax`, or on a new figure, and returns what it drew on, titled and labelled.
    Nothing is computed before; then only the planes and every n-th pixel that the figure can show.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> plt.switch_backend("agg")
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cube = hsi.open_neon(hsi.synthetic.write_neon_tile(folder, hsi.synthetic.simulate_scene((30, 40))))
    ...     picture = cube.hsi.rgb()
    ...     band = cube.hsi.nearest(650)
    >>> picture.get_title()
    'true colour: 667.0, 561.8, 491.7 nm'
    >>> band.dims, round(float(band.wavelength), 1)
    (('y', 'x'), 652.0)
    """

    def __init__(self, held: xr.DataArray | xr.Dataset) -> None:
        self._held = held

    def nearest(self, wavelength: float | Sequence[float]) -> xr.DataArray:
        """The plane nearest to a wavelength, nm, lazy; of several wavelengths, their planes in this order."""
        from hsi_dask.show.figures import nearest_planes

        if not isinstance(wavelength, Sequence):
            return nearest_planes(self._cube(), [wavelength], None)[0]
        planes = nearest_planes(self._cube(), wavelength, None)
        return xr.concat(planes, "wavelength", coords="minimal", compat="override", combine_attrs="override")

    def rgb(self, bands: Literal["true", "cir"] | Sequence[float] = "true", *, ax: Axes | None = None) -> Axes:
        """A picture in true colour, in colour infrared (near infrared, red, green), or of three wavelengths in nm."""
        from hsi_dask.show import figures

        wavelengths = figures.BANDS[bands] if isinstance(bands, str) else bands
        planes = figures.nearest_planes(self._cube(), wavelengths)
        ax = ax or _new_map(planes[0])
        # one by one: a block that several planes are cut from is read whole, and for one plane its share alone
        figures.draw_picture(ax, [_thinned(plane, ax).compute() for plane in planes])
        shown = ", ".join(f"{float(plane['wavelength']):.1f}" for plane in planes)
        kind = figures.PICTURES.get(bands) if isinstance(bands, str) else None
        ax.set_title(f"{kind or 'red, green, blue'}: {shown} nm")
        return ax

    def plot_band(self, wavelength: float, *, ax: Axes | None = None, cmap: str = "gray") -> Axes:
        """The plane nearest to a wavelength, nm, as a map."""
        from hsi_dask.show import figures

        plane = self.nearest(wavelength)
        ax = ax or _new_map(plane)
        figures.draw_plane(ax, _thinned(plane, ax).compute(), cmap=cmap)
        title = f"{plane.attrs.get('long_name') or plane.name} at {float(plane['wavelength']):.1f} nm"
        ax.set_title(title, parse_math=False)
        return ax

    def spectrum(self, *, x: float, y: float, ax: Axes | None = None) -> Axes:
        """The spectrum of the pixel at these coordinates, metres; reads that pixel alone."""
        from hsi_dask.ops.bands import single_pixel
        from hsi_dask.show import figures

        cube = self._cube()
        pixel = single_pixel(cube, _number(cube, "y", y), _number(cube, "x", x))
        ax = ax or _new()
        where = f"{float(pixel['x']):.10g} E, {float(pixel['y']):.10g} N"
        figures.draw_spectra(ax, pixel.expand_dims("pixel"), [where], _windows(cube))
        ax.set_title(f"spectrum at {where}")
        return ax

    def plot_endmembers(self, *, ax: Axes | None = None) -> Axes:
        """Endmember spectra, with gaps where wavelengths were left out."""
        from hsi_dask.show import figures

        spectra = self._endmembers()
        ax = ax or _new()
        figures.draw_spectra(ax, spectra, figures.names_of(spectra))
        ax.set_title(f"{spectra.sizes['endmember']} endmembers")
        legend = ax.legend(frameon=False, fontsize="small", ncols=1 + spectra.sizes["endmember"] // 9)
        for text in legend.get_texts():
            text.set_parse_math(False)  # names are drawn as they are
        return ax

    def plot_abundances(self) -> Figure:
        """A map of every endmember's abundance on one scale, and below it the histogram; one figure."""
        import matplotlib.pyplot as plt
        import numpy as np

        from hsi_dask.show import figures
        from hsi_dask.show.palettes import SEQUENTIAL

        maps = self._map("abundance")
        count = maps.sizes["endmember"]
        columns = 2 if count == 4 else min(count, 3)
        high = 3.2 * min(maps.sizes["y"] / maps.sizes["x"], 2.0)
        rows = -(-count // columns)
        figure = plt.figure(figsize=(3.4 * columns + 0.6, rows * (high + 1.6)), layout="constrained")
        grid = figure.add_gridspec(2 * rows, columns, height_ratios=[high, 0.9] * rows)
        panels = []
        for number in range(count):
            row, column = divmod(number, columns)
            above, below = figure.add_subplot(grid[2 * row, column]), figure.add_subplot(grid[2 * row + 1, column])
            plane = _thinned(maps.isel(endmember=number), above).compute()
            image = figures.draw_plane(above, plane, cmap=SEQUENTIAL, limits=(0.0, 1.0), bar=False)
            values = plane.values[np.isfinite(plane.values)]
            counts, edges = np.histogram(values, bins=50, range=(0, 1))
            mean = float(values.mean()) if values.size else float("nan")
            figures.draw_bins(below, counts, edges, label="abundance", cmap=SEQUENTIAL, mean=mean)
            above.set_title(f"endmember {int(maps['endmember'][number])}: mean {mean:.3f}")
            panels.append(above)
        figure.colorbar(image, ax=panels, label="abundance", shrink=0.6, aspect=30)
        figure.suptitle("abundances (sum to one)")
        return figure

    def plot_classes(self, method: Literal["sam", "sid"] | None = None, *, ax: Axes | None = None) -> Axes:
        """A map of classes with its legend; of a dataset by SAM, or by SID if asked for or alone."""
        from matplotlib.patches import Patch

        from hsi_dask.show import figures
        from hsi_dask.show.palettes import UNCLASSIFIED_COLOUR, class_colours, class_table

        classes = self._map(*([f"{method}_class"] if method else ["sam_class", "sid_class"]))
        count = len(classes.attrs["flag_values"]) - 1 if "flag_values" in classes.attrs else int(classes.max())
        ax = ax or _new_map(classes, legend=True)
        figures.draw_categories(ax, _thinned(classes, ax).compute(), class_table(range(1, count + 1)))
        colours = dict(enumerate(class_colours(count), 1))
        handles = [Patch(color=colour, label=f"endmember {n}") for n, colour in colours.items()]
        handles.append(Patch(color=UNCLASSIFIED_COLOUR, label="unclassified"))
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
        ax.set_title(figures.label_of(classes).replace("endmember of the ", "classes by "), parse_math=False)
        return ax

    def histogram(self, name: str | None = None, *, bins: int = 100, ax: Axes | None = None) -> Axes:
        """How often values occur, of an array or of the variable `name` of a dataset; of large ones of every n-th."""
        import numpy as np

        from hsi_dask.show import figures

        array = self._map(name or "residual") if isinstance(self._held, xr.Dataset) else self._held
        step = max(1, int(np.ceil(np.sqrt(array.size / _MOST_VALUES))))
        thin = {dim: slice(step // 2, None, step) for dim in ("y", "x") if dim in array.dims}
        values = np.asarray(_reflectance(array).isel(thin))
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values[values != 255]
        ax = ax or _new()
        counts, edges = np.histogram(values, bins=bins, range=tuple(np.percentile(values, (0.1, 99.9))))
        mean = float(values.mean()) if values.size else None
        figures.draw_bins(ax, counts, edges, label=figures.label_of(array), mean=mean)
        single = "wavelength" in array.coords and "wavelength" not in array.dims
        at = f" at {float(array['wavelength']):.1f} nm" if single else ""
        ax.set_title(f"{array.attrs.get('long_name') or array.name}{at}", parse_math=False)
        return ax

    # ------------------------------------------------------------------------------------ what is held

    def _cube(self) -> xr.DataArray:
        """The reflectance; of results, their quicklook."""
        if isinstance(self._held, xr.DataArray):
            return _reflectance(self._held)
        return _reflectance(self._map("reflectance", "quicklook"))

    def _map(self, *names: str) -> xr.DataArray:
        from hsi_dask.errors import SchemaError

        if isinstance(self._held, xr.DataArray):
            return self._held
        for name in names:
            if name in self._held:
                return self._held[name]
        held = ", ".join(map(str, self._held.data_vars)) or "nothing"
        raise SchemaError(f"the dataset has no {' or '.join(names)} but {held}")

    def _endmembers(self) -> xr.DataArray:
        """These spectra, or those of the run that the results are from."""
        from pathlib import Path

        from hsi_dask.errors import SchemaError
        from hsi_dask.io.store import ENDMEMBERS, read_endmembers

        if isinstance(self._held, xr.DataArray):
            if set(self._held.dims) != {"endmember", "wavelength"}:
                raise SchemaError(f"endmembers have the dimensions endmember and wavelength, not {self._held.dims}")
            return self._held
        source = Path(self._held.encoding.get("source", "")).parent / ENDMEMBERS
        if not source.is_dir():
            raise SchemaError("these results are of no run directory; call endmembers.hsi.plot_endmembers()")
        return read_endmembers(source)


def _reflectance(cube: xr.DataArray) -> xr.DataArray:
    """Stored integers as reflectance, lazily."""
    if cube.dtype.kind == "f" or "scale_factor" not in cube.attrs:
        return cube
    scaled: xr.DataArray = cube.where(cube != cube.attrs.get("_FillValue")) * cube.attrs["scale_factor"]
    return scaled.astype("float32").assign_attrs(cube.attrs).rename(cube.name)


def _thinned(array: xr.DataArray, ax: Axes) -> xr.DataArray:
    """Every n-th pixel, as many as the axes have on the screen; lazy."""
    room = max(ax.bbox.width, ax.bbox.height, 100)
    step = max(1, int(-(-max(array.sizes["y"], array.sizes["x"]) // room)))
    return array.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))


def _new() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7, 4), layout="constrained")[1]


def _new_map(array: xr.DataArray, legend: bool = False) -> Axes:
    """Axes as tall as the map needs."""
    import matplotlib.pyplot as plt

    high = 5.0 * min(array.sizes["y"] / array.sizes["x"], 2.0) + 0.9
    return plt.subplots(figsize=(7.5 if legend else 6.4, high), layout="constrained")[1]


def _number(cube: xr.DataArray, dim: str, wanted: float) -> int:
    """Which pixel along a dimension holds a coordinate."""
    import numpy as np

    from hsi_dask.errors import SchemaError

    known = np.asarray(cube[dim], np.float64)
    number = int(np.abs(known - wanted).argmin())
    step = abs(known[1] - known[0]) if known.size > 1 else 1.0
    if abs(known[number] - wanted) > step:
        raise SchemaError(
            f"{dim}={wanted:.10g} is outside the cube, which has {known.min():.10g} to {known.max():.10g}"
        )
    return number


def _windows(cube: xr.DataArray) -> list[tuple[float, float]]:
    """The water-vapour windows that the cube knows of, nm."""
    ends = list(cube.attrs.get("water_vapour_windows", ()))
    return list(zip(ends[::2], ends[1::2], strict=True))
