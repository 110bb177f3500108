"""One set of wavelengths for a run: what any of its files marks as unusable is left out of all."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.config import BandConfig, RunConfig
from hsi_dask.errors import ConfigError, RunError, counted
from hsi_dask.io.documents import read_text
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.bands import select_bands
from hsi_dask.schema import SAME_WAVELENGTH, WAVELENGTH
from hsi_dask.yaml_text import load

logger = logging.getLogger(__name__)

Windows = tuple[tuple[float, float], ...]

CONFIG_FILE = "config.yaml"  # of a run directory
_GAP = 1.5  # spacings between neighbouring wavelengths: more is a window that was left out


def with_common_windows(files: Sequence[TileSource], config: RunConfig) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with windows that hold for all files, where these differ in what they leave out.

    Returns
    -------
    configuration, whose windows have those of the files for "file", and a sentence on what was chosen; the same
    configuration where the files agree or it says itself
    """
    wanted, usable = config.bands.windows, [file.good_wavelength for file in files]
    if wanted is not None and "file" not in wanted:
        return config, ()
    good = np.all(usable, axis=0)
    windows = _around(~good, files[0])
    if wanted is not None:
        config = config.replace(bands={"windows": (*windows, *(one for one in wanted if one != "file"))})
    if all((one == good).all() for one in usable):
        return config, ()
    shown = ", ".join(f"{low:g} to {high:g}" for low, high in windows)
    fewer = sum(not (one == good).all() for one in usable)
    note = (
        f"the files leave out different wavelengths: what any of them leaves out ({shown} nm) is left out of all, "
        f"which takes some from {fewer} of {counted(len(files), 'tile')}"
    )
    logger.info("%s", note)
    return (config if wanted else config.replace(bands={"windows": windows})), (note,)


def with_last_of_run(config: RunConfig, run: str) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with as many bands left out at the long end as an earlier run whose spectra are to be used.

    Returns
    -------
    configuration, and a sentence; the same configuration where it says itself how many, or the run does not tell
    """
    folder = run if os.path.isfile(os.path.join(run, CONFIG_FILE)) else os.path.dirname(os.path.abspath(run))
    if "drop_last" in config.bands.model_fields_set or not os.path.isfile(os.path.join(folder, CONFIG_FILE)):
        return config, ()
    try:
        section = load(read_text(Path(folder) / CONFIG_FILE)).get("bands")
        told = BandConfig(drop_last=section["drop_last"]).drop_last if isinstance(section, dict) else None
    except (ConfigError, RunError, ValueError, KeyError):
        return config, ()
    if told is None or told == config.bands.drop_last:
        return config, ()
    note = f"without the last {counted(told, 'wavelength')}, as in {run}; bands.drop_last says otherwise"
    logger.info("%s", note)
    return config.replace(bands={"drop_last": told}), (note,)


def with_bands_of_run(
    config: RunConfig, file: TileSource, spectra: xr.DataArray, run: str
) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with windows that leave out what an earlier run left out, whose spectra are to be used here.

    Years of a site differ by up to 2 nm, and in what their files mark as unusable: a wavelength counts as known where
    the spectra have it, or have one on either side of it that is its neighbour.

    Returns
    -------
    configuration, and a sentence on what was left out; the same configuration where the spectra know all wavelengths
    """
    bands, every = config.bands, np.asarray(file.wavelength, np.float64)
    kept = select_bands(file.numbers(), windows=bands.pairs, drop_last=bands.drop_last)[WAVELENGTH].values
    usable = select_bands(file.numbers(), windows=bands.pairs, drop_last=0)[WAVELENGTH].values
    lacking = np.isin(every, kept) & ~_known(every, np.asarray(spectra[WAVELENGTH], np.float64))
    if not lacking.any():
        return config, ()
    some = ", ".join(f"{nm:.1f}" for nm in every[lacking][:3]) + (" and so on" if lacking.sum() > 3 else "")
    note = (
        f"the spectra of {run} know nothing of {lacking.sum()} of the wavelengths ({some} nm): they are left out, as "
        "in that run; bands.windows says otherwise"
    )
    logger.info("%s", note)
    return config.replace(bands={"windows": _around(~np.isin(every, usable) | lacking, file)}), (note,)


def _known(wanted: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each wavelength is a known one, or lies between two that are neighbours."""
    if known.size < 2 or wanted.size < 2:
        return np.isin(wanted, known)
    after = np.clip(np.searchsorted(known, wanted), 1, known.size - 1)
    same = np.minimum(np.abs(known[after] - wanted), np.abs(known[after - 1] - wanted)) <= SAME_WAVELENGTH
    spacing = np.maximum(np.abs(np.gradient(wanted)), np.median(np.diff(known)))
    close = known[after] - known[after - 1] <= _GAP * spacing
    found: NDArray[np.bool_] = same | (close & (wanted > known[0]) & (wanted < known[-1]))
    return found


def _around(bad: np.ndarray, file: TileSource) -> Windows:
    """Windows, nm, that hold just these wavelengths: their ends lie halfway to the next usable ones."""
    w = file.wavelength
    edges = np.concatenate(([w[0] - 1.0], (w[1:] + w[:-1]) / 2, [w[-1] + 1.0]))
    turns = np.flatnonzero(np.diff(np.concatenate(([False], bad, [False])).astype(int)))
    return tuple((round(float(edges[first]), 3), round(float(edges[stop]), 3)) for first, stop in turns.reshape(-1, 2))
