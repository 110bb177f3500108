"""Quality layers: maps beside a cube, on its pixels, as stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import xarray as xr

from hsi_dask.io.blocks import StoredCube
from hsi_dask.io.variables import stored_variable
from hsi_dask.schema import X, Y


@dataclass(frozen=True)
class Layer:
    """A map (y, x) or (y, x, n) as stored; elements equal to `fill_value` are no data.

    third : name of the third dimension; the layer's own unless given
    """

    stored: StoredCube
    fill_value: float | None = None
    attrs: Mapping[str, str] = field(default_factory=dict)
    third: str = ""


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
