"""Does every record match what the store holds? Recomputes the checksum of every chunk that was written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hsi_dask.batch.state import RECORDS, Run, TileRecord
from hsi_dask.errors import RunError
from hsi_dask.io import store
from hsi_dask.io.durable import digest


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was recorded. `tile` is "" where it is not about one tile."""

    tile: str
    variable: str
    what: str


def verify(run_dir: str | os.PathLike[str]) -> list[Finding]:
    """Compare a run's records with its store.

    Finds a flipped byte, a missing or torn chunk, damaged metadata and endmembers, records that cannot be read
    or belong to other settings. Tiles without a record are not findings: they are pending.

    Raises
    ------
    RunError
        The folder is not a run.
    """
    run = Run.open(run_dir)
    findings = list(_check_stores(run))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # reading and hashing release the GIL
        for found in pool.map(lambda tile: _check_tile(run, tile), sorted(run.recorded())):
            findings += found
    return findings


def _check_stores(run: Run) -> Iterator[Finding]:
    if not run.recorded():
        return
    try:
        store.read_endmembers(run.endmembers)
    except RunError as error:
        yield Finding("", "endmembers", str(error))
    for name in (*run.manifest.variables, "y", "x", "endmember", "spatial_ref"):
        path = run.results / name / "zarr.json"
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            yield Finding("", name, f"{path} is missing or damaged; start a new run directory")


def _check_tile(run: Run, tile: str) -> list[Finding]:
    record = run.record(tile)
    if record is None:
        return [Finding(tile, "", f"its record cannot be read; remove {run.path / RECORDS / tile}.json and run again")]
    if record.fingerprint != run.manifest.fingerprint or record.endmembers != run.endmembers_digest():
        return [Finding(tile, "", "its record is of other settings or endmembers; run again to compute it anew")]
    return [Finding(tile, key.partition("/")[0], what) for key, what in _wrong_chunks(run, record)]


def _wrong_chunks(run: Run, record: TileRecord) -> Iterator[tuple[str, str]]:
    for key, nbytes, expected in record.chunks:
        try:
            data = (run.results / key).read_bytes()
        except FileNotFoundError:
            yield key, f"chunk {key} is missing"
            continue
        except OSError as error:
            yield key, f"chunk {key} cannot be read ({error.strerror})"
            continue
        if len(data) != nbytes:
            yield key, f"chunk {key} is torn: {len(data)} of {nbytes} bytes"
        elif digest(data) != expected:
            yield key, f"chunk {key} holds other bytes than were written"
