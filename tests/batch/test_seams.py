"""A site run tile by tile against the same scene run as one uncut tile."""

from pathlib import Path

import numpy as np
import pytest

from hsi_dask.batch.execution.run import run
from hsi_dask.config import RunConfig
from hsi_dask.io.store import open_results
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

WAVELENGTH = neon_wavelengths(100, step=20.0)


@pytest.mark.parametrize(("revision", "chunks"), [("DP3.001", (16, 9, 27)), ("DP3.002", None)])
def test_tiles_join_to_the_uncut_run(tmp_path: Path, revision: str, chunks: tuple[int, int, int] | None) -> None:
    scene = simulate_scene((80, 120), seed=4, no_data=0.1, wavelength=WAVELENGTH)
    whole = write_neon_tile(tmp_path / "whole.h5", scene, revision=revision, chunks=chunks)
    tiles = [write_neon_tile(tmp_path / "tiles", part, revision=revision, chunks=chunks) for part in scene.tiles(40)]
    run(RunConfig(tiles=[str(whole)], endmembers={"count": 4, "sample": 3000}), tmp_path / "uncut")
    given = {"file": str(tmp_path / "uncut")}
    summary = run(RunConfig(tiles=list(map(str, tiles)), endmembers=given), tmp_path / "cut")
    assert len(summary.done) == 6
    uncut, cut = open_results(tmp_path / "uncut").compute(), open_results(tmp_path / "cut").compute()
    assert cut.rio.bounds() == uncut.rio.bounds()
    for name in uncut:
        np.testing.assert_array_equal(cut[name], uncut[name], err_msg=str(name))
