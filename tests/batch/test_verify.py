"""verify finds what was done to a store, and says where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hsi_dask.batch.state.verify import verify
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
