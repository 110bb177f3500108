"""What `.hsi` is asked of: an array or a dataset, its maps by what they mean, and the axes to draw them on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hsi_dask.schema import Variable
    from hsi_dask.show.labels import Labels


class Held:
    """A cube, endmembers, a map or results."""

    def __init__(self, held: xr.DataArray | xr.Dataset) -> None:
        self._held = held

    def _cube(self) -> xr.DataArray:
        """The reflectance; of results, their quicklook."""
        from hsi_dask.schema import require_pixels

        return reflectance(require_pixels(self._map("reflectance", "quicklook")))

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


def reflectance(cube: xr.DataArray) -> xr.DataArray:
    """Stored integers as reflectance, lazily."""
    if cube.dtype.kind == "f" or "scale_factor" not in cube.attrs:
        return cube
    scaled: xr.DataArray = cube.where(cube != cube.attrs.get("_FillValue")) * cube.attrs["scale_factor"]
    return scaled.astype("float32").assign_attrs(cube.attrs).rename(cube.name)


def thinned(array: xr.DataArray, ax: Axes) -> xr.DataArray:
    """Every n-th pixel, as many as the axes have on the screen; lazy."""
    room = max(ax.bbox.width, ax.bbox.height, 100)
    step = max(1, int(-(-max(array.sizes["y"], array.sizes["x"]) // room)))
    return array.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))


def new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7, 4), layout="constrained")[1]


def new_map_axes(array: xr.DataArray, legend: bool = False) -> Axes:
    """Axes as tall as the map needs."""
    import matplotlib.pyplot as plt

    high = 5.0 * min(array.sizes["y"] / array.sizes["x"], 2.0) + 0.9
    return plt.subplots(figsize=(7.5 if legend else 6.4, high), layout="constrained")[1]
