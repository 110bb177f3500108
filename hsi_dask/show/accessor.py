"""`.hsi` on xarray's arrays and datasets: pictures, areas and indices of cubes, spectra and results in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

# numpy and matplotlib come with the first picture: registering costs nothing beside xarray
if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from hsi_dask.schema import Variable
    from hsi_dask.show.labels import Labels

_MOST_VALUES = 4_000_000  # that a histogram looks at


@xr.register_dataset_accessor("hsi")
@xr.register_dataarray_accessor("hsi")
class Pictures:
    """Pictures and summaries of a cube, of endmembers or of results.

    Methods that draw do so with matplotlib on `ax`, or on a new figure, and return what they drew on, titled and
    labelled. Nothing is computed before; then only the planes and every n-th pixel that the figure can show. Means that
    are told are of all pixels.

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

    # ------------------------------------------------------------------------------------ cubes and spectra

    def nearest(self, wavelength: float | Sequence[float]) -> xr.DataArray:
        """The plane nearest to a wavelength, nm, lazy; of several wavelengths, their planes in this order."""
        import numpy as np

        from hsi_dask.show.figures import nearest_planes

        if np.ndim(wavelength) == 0:
            return nearest_planes(self._cube(), [wavelength], None)[0]  # type: ignore[list-item]
        planes = nearest_planes(self._cube(), list(wavelength), None)  # type: ignore[arg-type]
        return xr.concat(planes, "wavelength", coords="minimal", compat="override", combine_attrs="override")

    def ndvi(self) -> xr.DataArray:
        """Normalised difference vegetation index of 842 and 665 nm, (y, x); lazy."""
        from hsi_dask.ops.indices import ndvi

        return ndvi(self._cube())

    def index(self, name: str, **constants: float) -> xr.DataArray:
        """An index that spyndex knows, such as "NDWI" or "EVI", (y, x); lazy. Constants such as `L=0.5` have defaults.

        Needs spyndex: `pip install "hsi-dask[indices]"`.
        """
        from hsi_dask.ops.indices import spectral_index

        return spectral_index(self._cube(), name, **constants)

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

    def spectrum(self, *, x: float | Sequence[float], y: float | Sequence[float], ax: Axes | None = None) -> Axes:
        """The spectrum of the pixel at these coordinates, or one for each of several; reads these pixels alone."""
        import numpy as np

        from hsi_dask.errors import SchemaError
        from hsi_dask.ops.bands import single_pixel
        from hsi_dask.show import figures, spectra

        cube = self._cube()
        across, down = np.atleast_1d(x).ravel(), np.atleast_1d(y).ravel()
        if across.size != down.size:
            raise SchemaError(f"x has {across.size} places and y {down.size}; give as many of both")
        places = [(_number(cube, "y", one), _number(cube, "x", other)) for one, other in zip(down, across, strict=True)]
        pixels = [single_pixel(cube, *place) for place in places]
        east, north = (" E", " N") if figures.are_metres(cube) else ("", "")
        where = [f"{float(pixel['x']):.10g}{east}, {float(pixel['y']):.10g}{north}" for pixel in pixels]
        ax = ax or _new()
        values = np.stack([np.asarray(pixel) for pixel in pixels])
        lines = xr.DataArray(values, {"wavelength": cube["wavelength"].variable}, ("pixel", "wavelength"))
        spectra.draw_spectra(ax, lines, where, _windows(cube))
        ax.set_title(f"spectrum at {where[0]}" if len(where) == 1 else f"{len(where)} spectra")
        if len(where) > 1:
            ax.legend(frameon=False, fontsize="small")
        return ax

    def plot_endmembers(self, *, ax: Axes | None = None) -> Axes:
        """Endmember spectra, with gaps where wavelengths were left out; those of a library in colours of materials."""
        from hsi_dask.show import figures, spectra
        from hsi_dask.show.labels import drawn_of, lines_of

        endmembers = self._endmembers()
        drawn = drawn_of(endmembers, spectra.MOST_LINES)
        names, colours = lines_of(drawn)
        ax = ax or _new()
        spectra.draw_spectra(ax, drawn, names, colours=colours)
        ax.set_title(f"{endmembers.sizes['endmember']} endmembers")
        legend = ax.legend(frameon=False, fontsize="small", ncols=1 + len(set(names)) // 9)
        figures.as_they_are(legend.get_texts())
        return ax

    def plot_components(self) -> Figure:
        """Components of `mnf` or `pca`, a map each on a scale of its own, titled with the eigenvalue."""
        from hsi_dask.errors import SchemaError
        from hsi_dask.show.panels import draw_components

        maps = self._map("mnf", "pca")
        if "component" not in maps.dims:
            raise SchemaError(f"components have the dimension component, not {maps.dims}; take them from mnf or pca")
        return draw_components(maps.transpose("component", "y", "x"))

    # ------------------------------------------------------------------------------------ tables

    def to_samples(self) -> xr.DataArray:
        """All pixels with data as rows, computed: see `hsi_dask.to_samples`."""
        from hsi_dask.ops.samples import to_samples

        return to_samples(self._held)

    def from_samples(self, values: ArrayLike, samples: xr.DataArray) -> xr.DataArray:
        """Values of sampled pixels as a map on this grid: see `hsi_dask.from_samples`."""
        from hsi_dask.ops.samples import from_samples

        return from_samples(values, samples, self._held)

    # ------------------------------------------------------------------------------------ results

    def areas(self, polygons: Any = None, *, level: float = 0.95) -> pd.DataFrame:
        """Hectares of every class in each class map, and covered by every fraction; one row a class or material.

        The area of a class is a count of its pixels, without an error; `hsi.accuracy` estimates it with an interval
        from places of known class.

        Parameters
        ----------
        polygons : optional
            A GeoDataFrame or GeoSeries (brought to the maps' CRS), shapely geometries or GeoJSON in the maps' CRS; one
            or several. Pixels whose centre is inside count.
        level : probability of the intervals.

        Returns
        -------
        DataFrame
            Columns are the maps; NaN where a map has no such class. The sum of a fraction over all pixels, times the
            area of one, is the area that it covers. A fraction with its standard deviation beside it, as `cover` makes
            it, has `<map>_low` and `<map>_high`, the interval of the area. What no model fits is a row of its own.
            With polygons, rows are of each of them.
            Computes the maps whole, block by block.

        Raises
        ------
        SchemaError
            The maps' y and x are not metres, or a polygon does not lie on them.

        Notes
        -----
        Pixels are not independent: what errs in one errs in its neighbours. Errors are taken to be correlated as
        exp(-distance / length), over the length at which the correlation of the fraction's own map falls to 1/e (in up
        to nine windows of 256 pixels); then 2 pi length^2 pixels count as one. Beside that a sixth of each error is
        taken to be the same everywhere, for it is one library. At most, and where the length cannot be seen, all errors
        are. On simulated scenes such intervals held the truth in 97 %. The standard
        deviation of `fcls` is that of noise alone: its intervals are too narrow where materials vary. A count of a
        class map's pixels has no such error to sum: confusions of classes do not average out over an area, and only
        places of known class tell how many there are.

        Examples
        --------
        >>> import hsi_dask as hsi
        >>> scene = hsi.synthetic.simulate_scene((60, 80), materials=("vegetation", "soil"), variability=0.05)
        >>> cube = xr.DataArray(scene.reflectance() / 1e4, {"y": scene.y, "x": scene.x, "wavelength": scene.wavelength},
        ...                     ("y", "x", "wavelength"))
        >>> cover = hsi.fractional_cover(cube.sel(wavelength=slice(450, 1300)),
        ...                              scene.library(6).sel(wavelength=slice(450, 1300)))
        >>> found = cover.hsi.areas().loc["soil"]
        >>> bool(found["fraction_low"] < found["fraction"] < found["fraction_high"])
        True
        """
        from hsi_dask.show.areas import areas

        return areas(self._dataset(), polygons, level)

    def at(
        self, points: Any, *, buffer: float | None = None, crs: str | int | None = None, layer: str | None = None
    ) -> pd.DataFrame:
        """The maps, or the spectra of a cube, at points or in polygons; only chunks that hold such pixels are read.

        Parameters
        ----------
        points : path, GeoDataFrame, GeoSeries, DataFrame or array (n, 2)
            A table (.csv) with columns x and y, easting and northing, or lon and lat; GeoJSON, GeoPackage or shapefile;
            or what holds the same in memory. Files of vectors need geopandas: `pip install "hsi-dask[vector]"`.
        buffer : float, optional
            Metres: pixels whose centres are no farther from a place.
        crs : str or int, optional
            Of the coordinates, where these do not tell it: by default lon and lat are WGS 84, x and y as the maps'.
        layer : str, optional
            Of a file that has several.

        Returns
        -------
        DataFrame
            A row each, in their order, a GeoDataFrame for one; its own columns, then `state` (inside, partly outside,
            outside, no data, no geometry), `pixels` with data, and a column for each plane of each map, named after
            endmembers that have names: `abundance_roof`, `sam_class` with `sam_class_name`. At a point these are the
            values of the pixel that holds it. In polygons and with a buffer numbers are means of the pixels whose
            centres are inside, beside their standard deviation `abundance_roof_spread`; classes, flags and models are
            the commonest value, and of classes there is the share of each: `sam_class_share_roof`. NaN where nothing
            is known.

        Raises
        ------
        FileFormatError, SchemaError, ConfigError
            Places that cannot be read, maps without coordinates, a CRS that contradicts the file's.

        Examples
        --------
        >>> import tempfile
        >>> import hsi_dask as hsi
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     site = hsi.synthetic.simulate_site(f"{folder}/tiles", tiles=(1, 1), size=40, no_data=0)
        ...     summary = hsi.run(hsi.RunConfig(tiles=[f"{folder}/tiles"]), f"{folder}/run")
        ...     results = hsi.open_results(f"{folder}/run")
        ...     plots = results.hsi.at([(368010.5, 4306010.5), (0.0, 0.0)], buffer=5)
        >>> plots[["state", "pixels"]].values.tolist()
        [['inside', 81], ['outside', 0]]
        >>> bool(plots.abundance_1.isna()[1])
        True
        """
        from hsi_dask.io.places import read_places
        from hsi_dask.show.places import values_at

        held = self._held
        maps = held if isinstance(held, xr.Dataset) else _reflectance(held).to_dataset(name=held.name or "value")
        found = values_at(maps, read_places(points, crs=crs, layer=layer), buffer=buffer)
        if hasattr(points, "geometry") and hasattr(points, "set_geometry"):
            found = type(points)(found, geometry=points.geometry.to_numpy(), crs=points.crs)
        if hasattr(points, "index") and hasattr(points, "loc"):
            found.index = points.index
        return found

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
        ax = ax or _new_map(maps[0], legend=True)
        thin = _thinned(maps, ax)
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
            ax = ax or _new_map(array, legend=True)
            figures.draw_categories(ax, _thinned(array, ax).compute(), palettes.quality_table())
            panels.add_flags(ax, array)
            return ax
        if array.ndim == 3 and number is None:
            return panels.draw_planes(array, spec, labels)
        if array.ndim == 3:
            if number not in labels.numbers:
                raise SchemaError(f"{name} has no {number}; it has {', '.join(map(str, labels.numbers))}")
            array = array[labels.numbers.index(number)]
        ax = ax or _new_map(array)
        figures.draw_plane(ax, _thinned(array, ax).compute(), cmap=palettes.ramp_of(spec), limits=spec.limits)
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
        ax = ax or _new_map(classes, legend=True)
        shown = _thinned(classes, ax).compute()
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
        values = np.asarray(_reflectance(array).isel(thin))
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values[values != 255]
        ax = ax or _new()
        counts, edges = np.histogram(values, bins=bins, range=tuple(np.percentile(values, (0.1, 99.9))))
        mean = float(values.mean(dtype=np.float64)) if values.size else None
        figures.draw_bins(ax, counts, edges, label=figures.label_of(array), mean=mean)
        single = "wavelength" in array.coords and "wavelength" not in array.dims
        at = f" at {float(array['wavelength']):.1f} nm" if single else ""
        ax.set_title(f"{array.attrs.get('long_name') or array.name}{at}", parse_math=False)
        return ax

    # ------------------------------------------------------------------------------------ what is held

    def _cube(self) -> xr.DataArray:
        """The reflectance; of results, their quicklook."""
        from hsi_dask.schema import require_pixels

        return _reflectance(require_pixels(self._map("reflectance", "quicklook")))

    def _dataset(self) -> xr.Dataset:
        return self._held if isinstance(self._held, xr.Dataset) else self._held.to_dataset(name=self._held.name)

    def _map(self, *names: str) -> xr.DataArray:
        """The array itself, or the first of these variables that a dataset has."""
        from hsi_dask.errors import SchemaError

        if isinstance(self._held, xr.DataArray):
            return self._held
        for name in names:
            if name in self._held:
                return self._held[name]
        held = ", ".join(map(str, self._held.data_vars)) or "nothing"
        raise SchemaError(f"the dataset has no {' or '.join(names)} but {held}")

    def _spec(self, name: str) -> Variable:
        from hsi_dask.show.summaries import specifications

        return specifications(self._dataset())[str(self._map(name).name)]

    def _labels(self, name: str) -> Labels:
        from hsi_dask.show.summaries import labels_in

        return labels_in(self._dataset(), str(self._map(name).name))

    def _first(self, role: str) -> str:
        """The first map of a role; of an array its own name."""
        from hsi_dask.errors import SchemaError
        from hsi_dask.show.summaries import specifications

        if isinstance(self._held, xr.DataArray):
            return str(self._held.name)
        for name, spec in specifications(self._held).items():
            if spec.role == role:
                return name
        raise SchemaError(f"the dataset has no map of a {role} but {', '.join(map(str, self._held.data_vars))}")

    def _uncertainty(self, name: str) -> xr.DataArray | None:
        """The map of a map's standard deviation, None without one."""
        from hsi_dask.show.summaries import specifications

        if isinstance(self._held, xr.DataArray):
            return None
        known = specifications(self._held).items()
        return next((self._held[key] for key, spec in known if (spec.role, spec.of) == ("uncertainty", name)), None)

    def _class_map(self, method: str | None) -> str:
        from hsi_dask.show.summaries import class_map_in

        return str(self._held.name) if isinstance(self._held, xr.DataArray) else class_map_in(self._held, method)

    def _endmembers(self) -> xr.DataArray:
        """These spectra, or those of the run that the results are from."""
        from hsi_dask.errors import SchemaError

        if isinstance(self._held, xr.DataArray):
            if set(self._held.dims) != {"endmember", "wavelength"}:
                raise SchemaError(f"endmembers have the dimensions endmember and wavelength, not {self._held.dims}")
            return self._held
        if "endmembers" not in self._held.coords:
            raise SchemaError("these results are of no run directory; call endmembers.hsi.plot_endmembers()")
        from hsi_dask.show.summaries import with_materials

        names = {name: self._held[name] for name in ("name",) if name in self._held.coords}
        return with_materials(self._held["endmembers"].reset_coords(drop=True).assign_coords(names), self._held)


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
