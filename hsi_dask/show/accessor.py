"""`.hsi` on xarray's arrays and datasets: pictures, areas and indices of cubes, spectra and results in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from hsi_dask.show.cube_pictures import CubePictures
from hsi_dask.show.held import reflectance
from hsi_dask.show.map_pictures import MapPictures

# numpy and matplotlib come with the first picture: registering costs nothing beside xarray
if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


@xr.register_dataset_accessor("hsi")
@xr.register_dataarray_accessor("hsi")
class Pictures(CubePictures, MapPictures):
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

    def to_samples(self) -> xr.DataArray:
        """All pixels with data as rows, computed: see `hsi_dask.to_samples`."""
        from hsi_dask.ops.samples import to_samples

        return to_samples(self._held)

    def from_samples(self, values: ArrayLike, samples: xr.DataArray) -> xr.DataArray:
        """Values of sampled pixels as a map on this grid: see `hsi_dask.from_samples`."""
        from hsi_dask.ops.samples import from_samples

        return from_samples(values, samples, self._held)

    def to_bands(self) -> xr.Dataset:
        """Every plane of every map as a variable of its own, such as `abundance_soil`: for `.rio.to_raster`.

        Returns
        -------
        Dataset of (y, x), float32 and lazy, NaN where no data; classes stay their numbers. With the CRS of the maps.

        Raises
        ------
        SchemaError
            Nothing here has the dimensions y and x.

        Examples
        --------
        >>> import numpy as np
        >>> maps = xr.Dataset({"abundance": (("endmember", "y", "x"), np.ones((2, 3, 4), "f4"))})
        >>> list(maps.hsi.to_bands())
        ['abundance_1', 'abundance_2']
        """
        from hsi_dask.show.bands import to_bands

        return to_bands(self._dataset())

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
        maps = held if isinstance(held, xr.Dataset) else reflectance(held).to_dataset(name=held.name or "value")
        found = values_at(maps, read_places(points, crs=crs, layer=layer), buffer=buffer)
        if hasattr(points, "geometry") and hasattr(points, "set_geometry"):
            found = type(points)(found, geometry=points.geometry.to_numpy(), crs=points.crs)
        if hasattr(points, "index") and hasattr(points, "loc"):
            found.index = points.index
        return found
