"""Quality layers: maps beside a cube, on its pixels, as stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.io.blocks import StoredCube
from hsi_dask.io.variables import stored_variable
from hsi_dask.schema import X, Y

# What a layer means, whatever a sensor calls it: `cloud` 1 (below 10 %), 2 (to 50 %) or 3; `shadow` 0 and 1, of which
# one is shade; `view_zenith` degrees from nadir
Role = Literal["cloud", "shadow", "view_zenith"]
# By which a layer is known where its reader tells no roles: NEON's names in lower case
USUAL_NAMES: dict[Role, str] = {
    "cloud": "weather_quality_indicator",
    "shadow": "cast_shadow",
    "view_zenith": "to_sensor_zenith_angle",
}


@dataclass(frozen=True)
class Layer:
    """A map (y, x) or (y, x, n) as stored; elements equal to `fill_value` are no data.

    third : name of the third dimension; the layer's own unless given
    decode : from stored numbers (y, x[, n]) to those that the layer's role has (y, x), NaN where unknown; None where
        they are the same
    """

    stored: StoredCube
    fill_value: float | None = None
    attrs: Mapping[str, str] = field(default_factory=dict)
    third: str = ""
    decode: Callable[[NDArray[Any]], NDArray[np.float32]] | None = None

    def by_role(self, rows: Any, columns: Any) -> NDArray[np.float32]:
        """(y, x) of these pixels, as the layer's role has them; NaN where no data."""
        values = np.asarray(self.stored[rows, columns])
        if self.decode is not None:
            return self.decode(values)
        found = values.astype(np.float32)
        if self.fill_value is not None:
            found[values == self.fill_value] = np.nan
        return found


class Layers(NamedTuple):
    """The layers of a file by their names in lower case, and a sentence for each that is not usable."""

    maps: dict[str, Layer]
    notes: tuple[str, ...] = ()


class ReadLayers(Protocol):
    """Reads what a file says about its layers, all or some; no pixel."""

    def __call__(self, names: Collection[str] | None = None) -> Layers: ...


def no_layers(names: Collection[str] | None = None) -> Layers:
    """Of a file without any."""
    return Layers({})


def layer_dataset(maps: Mapping[str, Layer]) -> xr.Dataset:
    """The layers as stored, read when indexed, without coordinates; no data is in the attribute `_FillValue`."""
    return xr.Dataset({name: _variable(name, layer) for name, layer in maps.items()})


def _variable(name: str, layer: Layer) -> xr.Variable:
    third = layer.third or f"{name}_component"
    variable = stored_variable((Y, X, third)[: len(layer.stored.shape)], layer.stored, None)
    fill = {} if layer.fill_value is None else {"_FillValue": layer.stored.dtype.type(layer.fill_value)}
    variable.attrs = {**layer.attrs, **fill}
    return variable
