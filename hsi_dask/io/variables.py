"""Stored arrays as xarray variables: on dask, or read when indexed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from hsi_dask.errors import SchemaError
from hsi_dask.io.blocks import StoredCube, block_shape, lazy
from hsi_dask.schema import GRID_MAPPING


class _Indexed(BackendArray):
    """A stored array as xarray's lazy indexing wants it."""

    def __init__(self, stored: StoredCube) -> None:
        self.stored, self.shape, self.dtype = stored, stored.shape, stored.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self.stored.__getitem__)


def stored_variable(dims: tuple[str, ...], stored: StoredCube, chunks: Any) -> xr.Variable:
    """A lazy variable. chunks: None (no dask), "auto", or anything xarray accepts; what a dict leaves out is auto."""
    block = block_shape(stored)
    encoding = {"grid_mapping": GRID_MAPPING, "preferred_chunks": dict(zip(dims, block, strict=True))}
    if chunks is None:
        return xr.Variable(dims, indexing.LazilyIndexedArray(_Indexed(stored)), encoding=encoding)
    if isinstance(chunks, Mapping):
        if unknown := [str(dim) for dim in chunks if dim not in dims]:
            raise SchemaError(f"chunks name the dimensions {unknown}; the cube has {dims}")
        chunks = tuple(chunks.get(dim, size) for dim, size in zip(dims, block, strict=True))
    return xr.Variable(dims, lazy(stored, chunks), encoding=encoding)
