"""Does every record match what the store holds? Recomputes the checksum of every chunk that was written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hsi_dask.batch.state.lock import activity
from hsi_dask.batch.state.manifest import CONFIG, FORMAT, RECORDS, TileRecord, versions
from hsi_dask.batch.state.run_directory import Run, create_results
from hsi_dask.batch.state.scene import scene_thresholds
from hsi_dask.errors import RunError
from hsi_dask.io import endmember_store
from hsi_dask.io.durable import PART, digest, read_plain
from hsi_dask.io.zarr_metadata import MOST_CHUNK
from hsi_dask.yaml_text import load_file

_WRITERS = ("hsi-dask", "zarr", "numcodecs")  # who decides the bytes of an empty store


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was recorded. `tile` is "" where it is not about one tile."""

    tile: str
    variable: str
    what: str


def verify(run_dir: str | os.PathLike[str]) -> list[Finding]:
    """Compare a run's records with its store.

    Finds a flipped byte, a missing or torn chunk, damaged metadata, coordinates and endmembers, records that cannot
    be read, were edited or belong to other settings; and, once all tiles are done and nobody works here, chunks that no
    record vouches for. Tiles without a record are not judged: they are pending, or being written.

    Raises
    ------
    RunError
        The folder is not a run.
    """
    run = Run.open(run_dir)
    tiles = sorted(run.recorded())
    records = {tile: run.record(tile) for tile in tiles}
    findings = list(_check_stores(run)) if tiles else []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # reading and hashing release the GIL
        for found in pool.map(lambda tile: _check_tile(run, tile, records[tile]), tiles):
            findings += found
    return findings + list(_check_strangers(run))


def _check_stores(run: Run) -> Iterator[Finding]:
    try:
        endmembers = endmember_store.read_endmembers(run.endmembers)
    except RunError as error:
        yield Finding("", "endmembers", str(error))
        return
    with TemporaryDirectory() as folder:
        expected = Path(folder) / run.results.name
        create_results(expected, run.manifest, endmembers, _thresholds(run))
        for path in sorted(p for p in expected.rglob("*") if p.is_file()):
            name = path.relative_to(expected)
            if what := _differs(run, name.as_posix(), path):
                yield Finding("", name.parts[0], f"{run.results / name} {what}; start a new run directory")


def _thresholds(run: Run) -> Mapping[str, Sequence[float]]:
    """Those that depend on the scene; only then must the run's methods be installed."""
    section = load_file(run.path / CONFIG).get("thresholds")
    relative = isinstance(section, dict) and section.get("relative") is True
    return scene_thresholds(run.path, run.config) if relative else {}


def _differs(run: Run, name: str, expected: Path) -> str:
    """How a file of the empty store differs from what was written; "" where it does not."""
    try:
        data = read_plain(run.results, name, MOST_CHUNK)
        if expected.suffix == ".json":
            json.loads(data)
    except (OSError, ValueError, RecursionError):
        return "is missing or damaged"
    writers = run.manifest.versions
    same = run.manifest.format == FORMAT and all(writers.get(name) == versions()[name] for name in _WRITERS)
    return "was changed" if same and data != expected.read_bytes() else ""  # other versions may write otherwise


def _check_tile(run: Run, tile: str, record: TileRecord | None) -> list[Finding]:
    if record is None:
        path = run.path / RECORDS / f"{tile}.json"
        return [Finding(tile, "", f"its record {path} is damaged or was edited; run again to compute the tile anew")]
    if record.fingerprint != run.manifest.fingerprint or record.endmembers != run.endmembers_digest():
        return [Finding(tile, "", "its record is of other settings or endmembers; run again to compute it anew")]
    return [Finding(tile, key.partition("/")[0], what) for key, what in _wrong_chunks(run, record)]


def _wrong_chunks(run: Run, record: TileRecord) -> Iterator[tuple[str, str]]:
    for key, nbytes, expected in record.chunks:
        try:
            data = read_plain(run.results, key, MOST_CHUNK)
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


def _check_strangers(run: Run) -> Iterator[Finding]:
    """Chunks of maps that no record names; while a tile is not done, or somebody works here, they may be its own."""
    written = {
        path for name in (v.name for v in run.manifest.variables) for path in (run.results / name / "c").rglob("*")
    }
    records = run.records()  # after the chunks: what was written meanwhile has its record by now, or is not listed
    if len(records) < len(run.manifest.tiles):
        return
    known = {run.results / chunk.key for record in records for chunk in record.chunks}
    strangers = sorted(path for path in written - known if path.is_file() and not path.name.endswith(PART))
    if not strangers or activity(run.path):
        return
    for path in strangers:
        key = path.relative_to(run.results).as_posix()
        yield Finding("", key.partition("/")[0], f"chunk {key} is of no tile; nothing here wrote it: remove it")
