"""verify finds what was done to a store, and says where."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hsi_dask.batch.state.lock import activity, held_whole
from hsi_dask.batch.state.verify import verify
from hsi_dask.config import RunConfig
from hsi_dask.errors import RunError

TILE = "368040_4306000"


@pytest.fixture
def chunk(done_run: Path) -> Path:
    record = json.loads((done_run / "records" / f"{TILE}.json").read_text())
    return done_run / "results.zarr" / next(key for key, _, _ in record["chunks"] if key.startswith("sam_angle/c/1"))


def test_an_untouched_run_has_no_findings(undisturbed: Path) -> None:
    assert verify(undisturbed) == []


def test_a_flipped_bit_is_found(done_run: Path, chunk: Path) -> None:
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    (found,) = verify(done_run)
    assert (found.tile, found.variable) == (TILE, "sam_angle")
    assert "holds other bytes than were written" in found.what


def test_a_missing_chunk_is_found(done_run: Path, chunk: Path) -> None:
    chunk.unlink()
    (found,) = verify(done_run)
    assert (found.tile, found.what.split()[-2:]) == (TILE, ["is", "missing"])


def test_a_torn_write_is_found(done_run: Path, chunk: Path) -> None:
    size = chunk.stat().st_size
    chunk.write_bytes(chunk.read_bytes()[: size // 2])
    (found,) = verify(done_run)
    assert f"is torn: {size // 2} of {size} bytes" in found.what


def test_damaged_metadata_endmembers_and_records_are_found(done_run: Path) -> None:
    (done_run / "results.zarr/abundance/zarr.json").write_text("{")
    (done_run / "records" / f"{TILE}.json").write_text("{")
    found = verify(done_run)
    assert {(f.tile, f.variable) for f in found} == {("", "abundance"), (TILE, "")}
    spectra = next(p for p in (done_run / "endmembers.zarr/endmembers/c").rglob("*") if p.is_file())
    spectra.unlink()
    assert ("", "endmembers") in {(f.tile, f.variable) for f in verify(done_run)}


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run directory"):
        verify(tmp_path)


def test_a_chunk_of_no_tile_is_found_unless_somebody_works_here(done_run: Path, chunk: Path) -> None:
    stranger = chunk.parent / "77"
    stranger.write_bytes(b"x")
    with held_whole(done_run):
        assert "process" in activity(done_run)
        assert verify(done_run) == []
    assert activity(done_run) == ""
    (found,) = verify(done_run)
    assert found.what.startswith(f"chunk {stranger.relative_to(done_run / 'results.zarr')} is of no tile")


def test_beside_a_running_run_nothing_it_writes_is_found_wrong(
    config: RunConfig, tmp_path: Path, spawn: Callable[[str], subprocess.Popen[str]]
) -> None:
    code = f"""
        import time
        from hsi_dask.batch.execution.run import run
        from hsi_dask.config import RunConfig
        from hsi_dask.io import durable
        plain = durable.os.replace
        durable.os.replace = lambda *names: (time.sleep(0.01), plain(*names))
        run(RunConfig(**{config.model_dump()!r}), {str(tmp_path / "run")!r})
    """
    running, looks = spawn(code), 0
    while running.poll() is None:
        if (tmp_path / "run/manifest.json").is_file():
            assert verify(tmp_path / "run") == []
            looks += 1
    assert running.returncode == 0
    assert looks > 3
    assert verify(tmp_path / "run") == []
