"""One set of wavelengths for a run: what any of its files marks as unusable is left out of all."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from hsi_dask.config import RunConfig
from hsi_dask.io.tile_source import TileSource

logger = logging.getLogger(__name__)

Windows = tuple[tuple[float, float], ...]


def with_common_windows(files: Sequence[TileSource], config: RunConfig) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with windows that hold for all files, where these differ in what they leave out.

    Returns
    -------
    configuration, and a sentence on what was chosen; the same configuration where the files agree or it says itself
    """
    usable = [file.good_wavelength for file in files]
    if config.bands.windows is not None or all((good == usable[0]).all() for good in usable):
        return config, ()
    good = np.all(usable, axis=0)
    windows = _around(~good, files[0])
    shown = ", ".join(f"{low:g} to {high:g}" for low, high in windows)
    fewer = sum(not (one == good).all() for one in usable)
    note = (
        f"the files leave out different wavelengths: what any of them leaves out ({shown} nm) is left out of all, "
        f"which takes some from {fewer} of {len(files)} tiles"
    )
    logger.info("%s", note)
    return config.replace(bands={"windows": windows}), (note,)


def _around(bad: np.ndarray, file: TileSource) -> Windows:
    """Windows, nm, that hold just these wavelengths: their ends lie halfway to the next usable ones."""
    w = file.wavelength
    edges = np.concatenate(([w[0] - 1.0], (w[1:] + w[:-1]) / 2, [w[-1] + 1.0]))
    turns = np.flatnonzero(np.diff(np.concatenate(([False], bad, [False])).astype(int)))
    return tuple((round(float(edges[first]), 3), round(float(edges[stop]), 3)) for first, stop in turns.reshape(-1, 2))
