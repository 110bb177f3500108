"""Pictures of cubes and of spectra, for `.hsi`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import xarray as xr

from hsi_dask.errors import counted
from hsi_dask.show.held import Held, new_axes, new_map_axes, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CubePictures(Held):
    """What `.hsi` draws and tells of cubes and of spectra."""

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
        ax = ax or new_map_axes(planes[0])
        # one by one: a block that several planes are cut from is read whole, and for one plane its share alone
        figures.draw_picture(ax, [thinned(plane, ax).compute() for plane in planes])
        shown = ", ".join(f"{float(plane['wavelength']):.1f}" for plane in planes)
        kind = figures.PICTURES.get(bands) if isinstance(bands, str) else None
        ax.set_title(f"{kind or 'red, green, blue'}: {shown} nm")
        return ax

    def plot_band(self, wavelength: float, *, ax: Axes | None = None, cmap: str = "gray") -> Axes:
        """The plane nearest to a wavelength, nm, as a map."""
        from hsi_dask.show import figures

        plane = self.nearest(wavelength)
        ax = ax or new_map_axes(plane)
        figures.draw_plane(ax, thinned(plane, ax).compute(), cmap=cmap)
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
            raise SchemaError(f"x has {counted(across.size, 'place')} and y {down.size}; give as many of both")
        places = [(_number(cube, "y", one), _number(cube, "x", other)) for one, other in zip(down, across, strict=True)]
        pixels = [single_pixel(cube, *place) for place in places]
        east, north = (" E", " N") if figures.are_metres(cube) else ("", "")
        where = [f"{float(pixel['x']):.10g}{east}, {float(pixel['y']):.10g}{north}" for pixel in pixels]
        ax = ax or new_axes()
        values = np.stack([np.asarray(pixel) for pixel in pixels])
        lines = xr.DataArray(values, {"wavelength": cube["wavelength"].variable}, ("pixel", "wavelength"))
        spectra.draw_spectra(ax, lines, where, _windows(cube))
        ax.set_title(f"spectrum at {where[0]}" if len(where) == 1 else f"{counted(len(where), 'spectrum', 'spectra')}")
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
        ax = ax or new_axes()
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
