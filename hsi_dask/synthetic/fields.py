"""Random fields as functions of ground position and seed: patches, smooth variation, noise."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


# The coarse warp bends and stretches patches, the fine one frays them: (amplitude, scale), in patches
WARPS = ((1.2, 5.0), (0.2, 1.3))


TABLE = 2**20  # standard normal values, 4 MB: stays in cache, and its covariance is white to 0.001
BLOCK = 2**16  # float32 values worked on at a time: 256 kB, a core's share of cache


_FIELDS = (
    "noise", "patch", "warp_y", "warp_x", "light", "edge", "cloud", "shadow", "relief", "aspect", "air", "bundle",
)  # fmt: skip


def position_hash(seed: int, field: str, *index: Array) -> Array:
    """One uint64 for each (seed, field, index...): splitmix64's finaliser, chained. Broadcasts."""
    state: Array = np.full(1, (seed * 1009 + _FIELDS.index(field)) % 2**64, np.uint64)
    for part in (np.zeros(1, np.int64), *index):
        state = (state ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state


def _ease(fraction: Array) -> Array:
    return np.asarray(fraction * fraction * (3 - 2 * fraction))


def smooth_field(seed: int, field: str, rows: Array, cols: Array, scale: float) -> Array:
    """A smooth field in [0, 1], (rows, cols) float64: random values every `scale` pixels, eased between."""
    (i, a), (j, b) = ((np.floor(at / scale).astype(np.int64), at / scale % 1.0) for at in (rows, cols))
    lattice_i, lattice_j = np.arange(i.min(), i.max() + 2), np.arange(j.min(), j.max() + 2)
    nodes = position_hash(seed, field, lattice_i[:, None], lattice_j) / 2.0**64
    i, j, a, b = i - i.min(), j - j.min(), _ease(a)[:, None], _ease(b)
    lines = nodes[i] * (1 - a) + nodes[i + 1] * a
    smooth: Array = lines[:, j] * (1 - b) + lines[:, j + 1] * b
    return smooth


def _patch_ids(seed: int, field: str, i: Array, j: Array, count: int) -> Array:
    """An id in 0..count-1 for every lattice node (i, j); each run of `count` along j holds all ids."""
    run, place = np.divmod(j, count)
    keys = position_hash(seed, field, i[:, None, None], run[None, :, None], np.arange(count))
    return np.take_along_axis(np.argsort(keys, axis=-1), place[None, :, None], axis=-1)[..., 0]


def patch_weights(seed: int, field: str, rows: Array, cols: Array, scale: float, count: int) -> Array:
    """Weight of each id, (count, rows, cols) float32, summing to about 1: warped patches, 1 in the middle."""
    at_y, at_x = rows[:, None] / scale, cols[None, :] / scale
    for amplitude, reach in WARPS:
        at_y = at_y + amplitude * (2 * smooth_field(seed, "warp_y", rows, cols, reach * scale) - 1)
        at_x = at_x + amplitude * (2 * smooth_field(seed, "warp_x", rows, cols, reach * scale) - 1)
    i, j = np.floor(at_y).astype(np.int64), np.floor(at_x).astype(np.int64)
    a, b = _ease(at_y - i).astype(np.float32), _ease(at_x - j).astype(np.float32)
    i0, j0 = i.min(), j.min()
    ids = _patch_ids(seed, field, np.arange(i0, i.max() + 2), np.arange(j0, j.max() + 2), count)
    weights = np.zeros((count, *i.shape), np.float32)
    corners = (1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b
    for (di, dj), corner in zip(np.ndindex(2, 2), corners, strict=True):
        here = ids[i - i0 + di, j - j0 + dj]
        for number in range(count):
            weights[number] += np.where(here == number, corner, np.float32(0))
    return weights


@lru_cache(maxsize=4)
def noise_table(seed: int, extra: int) -> Array:
    values = np.random.Generator(np.random.Philox(seed)).standard_normal(TABLE, dtype=np.float32)
    values -= values.mean()
    return np.concatenate([values, values[:extra]])
