"""Run: a run directory to look at and to add records to; all state of a run is files in it.

Its own files and folders must not be links, and what they say is read through `hsi_dask.io.documents`: a run directory
may come from a stranger.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import xarray as xr

from hsi_dask.batch.state.lock import LOCK, PARTS, Part
from hsi_dask.batch.state.manifest import (
    CONFIG,
    FAILURES,
    FORMAT,
    MANIFEST,
    RECORDS,
    FailureNote,
    Manifest,
    TileRecord,
    checksum_of,
    now,
    read_manifest,
    versions,
    write_json,
)
from hsi_dask.batch.tiles.area import with_whole_path
from hsi_dask.batch.tiles.cells import CELLS
from hsi_dask.batch.tiles.mixture import words
from hsi_dask.batch.tiles.plan import BadTile, Plan, Tile
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, FileFormatError, RunError
from hsi_dask.escaping import visible
from hsi_dask.io import endmember_store, map_arrays, readers, store
from hsi_dask.io.cells import SUFFIX, parts_of
from hsi_dask.io.documents import (
    as_typed,
    read_document,
    read_json,
    read_text,
)
from hsi_dask.io.durable import PART
from hsi_dask.io.endmember_store import ENDMEMBERS
from hsi_dask.io.levels import OVERVIEWS
from hsi_dask.io.receipts import Receipt
from hsi_dask.io.regions import Region
from hsi_dask.io.scene import SCENE
from hsi_dask.io.store import RESULTS
from hsi_dask.io.zarr_metadata import read_group_metadata

_FILES = (CONFIG, MANIFEST, LOCK)
_FOLDERS = (
    RECORDS,
    FAILURES,
    PARTS,
    CELLS,
    *(name + end for name in (ENDMEMBERS, RESULTS, OVERVIEWS, SCENE) for end in ("", PART)),
)
OWN_NAMES = {*_FILES, *_FOLDERS} - {OVERVIEWS, OVERVIEWS + PART}
_LONGEST_REASON = 5000  # characters, of a sentence about a tile


@dataclass(frozen=True)
class Run:
    """A run directory with a manifest. Methods look at the disk each time they are called."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, run_dir: str | os.PathLike[str]) -> Run:
        """The run in this directory, to look at; RunError when there is none."""
        path = Path(run_dir)
        if not (path / MANIFEST).is_file():
            what = "is not a run directory: it has no manifest.json" if path.is_dir() else "does not exist"
            raise RunError(f"{path} {what}; give the folder that `hsi-dask run --out` wrote")
        require_plain(path)
        manifest = read_manifest(path / MANIFEST)
        tiles = tuple(replace(tile, path=_here(path, tile.path)) for tile in manifest.tiles)
        return cls(path, replace(manifest, tiles=tiles))

    def require_current(self) -> Run:
        """The run itself, to go on with; RunError when an older version began it."""
        if self.manifest.format < FORMAT:
            raise RunError(
                f"{self.path} was begun by an older hsi_dask (format {self.manifest.format}, not {FORMAT}): it can be "
                "looked at, but not gone on with; start a new run directory"
            )
        return self

    @cached_property
    def config(self) -> RunConfig:
        text = read_text(self.path / CONFIG)
        try:
            return RunConfig.from_text(text)
        except ConfigError as error:
            raise ConfigError(f"{self.path / CONFIG}: {error}") from None

    @property
    def results(self) -> Path:
        return self.path / RESULTS

    @property
    def endmembers(self) -> Path:
        return self.path / ENDMEMBERS

    def record(self, tile: str) -> TileRecord | None:
        """The tile's record, trusted or not; None when there is none, or none as it was written."""
        path = self.path / RECORDS / f"{tile}.json"
        try:
            values = read_json(path, below=self.path)
            checksum = values.pop("checksum", None) if isinstance(values, dict) else None
            record = as_typed(values, TileRecord, path)
        except RunError:
            return None
        whole = checksum == checksum_of(values) and record.tile == tile and self._holds(record)
        return replace(record, path=_here(self.path, record.path)) if whole else None

    def _holds(self, record: TileRecord) -> bool:
        """Whether the record's chunks are chunks of this run's mosaic."""
        grid, names = self.manifest.grid, {chunk.key.partition("/")[0] for chunk in record.chunks}
        rows, columns = (-(-size // chunk) for size, chunk in zip(grid.shape, grid.chunk, strict=True))
        inside = all(row < rows and column < columns for row, column in record.cells)
        return inside and names <= {variable.name for variable in self.manifest.variables}

    def records(self) -> list[TileRecord]:
        """Every trusted record, in the order of the manifest."""
        spectra = self.endmembers_digest()
        found = (self.record(tile) for tile in self.recorded())
        order = {tile.id: i for i, tile in enumerate(self.manifest.tiles)}
        trusted = [record for record in found if record and self._trusts(record, spectra)]
        return sorted(trusted, key=lambda r: order.get(r.tile, len(order)))

    def finished(self) -> list[TileRecord]:
        """The records of a run that has something to look at.

        Raises
        ------
        RunError
            No tile is done.
        """
        records = self.records()
        if not records or not self.results.is_dir():
            raise RunError(f"{self.path} has no finished tile; `hsi-dask run --out {self.path}` goes on with it")
        self.require_store()
        return records

    def require_store(self) -> None:
        """Refuse a results store that is not as the manifest lays it out, in RunError."""
        planes = map_arrays.endmember_planes(endmember_store.read_endmembers(self.endmembers))
        sizes = {dim: numbers.size for dim, numbers in planes.items()}
        map_arrays.require_layout(self.results, self.manifest.grid, self.manifest.variables, sizes)

    def done(self) -> list[str]:
        """Tiles with a trusted record: same settings, same spectra, and an input file that has not changed."""
        return [record.tile for record in self.records()]

    def failed(self) -> dict[str, str]:
        """Tiles that failed and have not succeeded since, with the reason."""
        done = set(self.done())
        return {tile: self._failure(tile) for tile in sorted(self._ids(FAILURES)) if tile not in done}

    def pending(self) -> list[str]:
        """Tiles that are neither done nor failed."""
        settled = {*self.done(), *self.failed()}
        return [tile.id for tile in self.manifest.tiles if tile.id not in settled]

    def endmembers_digest(self) -> str | None:
        """Identity of the stored spectra, None while there are none."""
        try:
            return str(read_group_metadata(self.endmembers).attributes.get("digest"))
        except RunError:
            return None

    def commit(self, record: TileRecord) -> None:
        """Write the record, after everything else of the tile, and remove the note of its failure."""
        values = asdict(record) | {"chunks": [tuple(c) for c in record.chunks]}
        write_json(self.path / RECORDS / f"{record.tile}.json", values | {"checksum": checksum_of(values)})
        self.forget_failure(record.tile)

    def fail(self, tile: str, path: str, reason: str) -> None:
        """Note why a tile failed."""
        note = FailureNote(tile, path, visible(reason)[:_LONGEST_REASON], now(), socket.gethostname())
        write_json(self.path / FAILURES / f"{tile}.json", asdict(note))

    def share(self, plan: Plan, part: Part) -> Plan:
        """The part's own tiles of a plan, by their order in the manifest, so that all parts agree."""
        own = set(part.share([tile.id for tile in self.manifest.tiles]))
        names = {tile.path: tile.id for tile in self.manifest.tiles}  # one that could not be read gets another name
        known = {tile.id for tile in self.manifest.tiles}

        def mine(tile: Tile | BadTile) -> bool:
            return (tile.id if tile.id in known else names.get(tile.path)) in own

        return replace(plan, tiles=tuple(filter(mine, plan.tiles)), bad=tuple(filter(mine, plan.bad)))

    def forget_failure(self, tile: str) -> None:
        (self.path / FAILURES / f"{tile}.json").unlink(missing_ok=True)

    def recorded(self) -> set[str]:
        """Tiles with a record, trusted or not."""
        return self._ids(RECORDS)

    def _ids(self, folder: str) -> set[str]:
        try:
            held = set(os.listdir(self.path / folder))
        except FileNotFoundError:
            return set()
        return {tile.id for tile in self.manifest.tiles if f"{tile.id}.json" in held}

    def _failure(self, tile: str) -> str:
        try:
            note = read_document(self.path / FAILURES / f"{tile}.json", FailureNote, below=self.path)
            return visible(note.reason)
        except RunError:
            return "its failure note cannot be read"

    def _trusts(self, record: TileRecord, spectra: str | None) -> bool:
        if (record.fingerprint, record.endmembers) != (self.manifest.fingerprint, spectra):
            return False
        try:
            return readers.identity(record.path) == (record.file_size, record.mtime_ns)
        except OSError:
            return True  # inputs may be moved away once their tile is done
        except FileFormatError:  # of a cell, whose document is damaged
            return False


def _here(run_dir: Path, tile: str) -> str:
    """The path of a tile; a cell's document is in the run directory itself, wherever that was moved to."""
    if not tile.endswith(SUFFIX):
        return tile
    return str(Path(os.path.abspath(run_dir)) / CELLS / os.path.basename(tile))


def input_paths(run: Run) -> list[Path]:
    """The files that a run is of, also where its tiles are cells of overlapping ones."""
    paths = (path for tile in run.manifest.tiles for path in parts_of(tile.path))
    return [Path(path) for path in dict.fromkeys(paths)]


def kept_region(run_dir: str | os.PathLike[str], config: RunConfig) -> Region | None:
    """The area of a run that a configuration goes on with, as the run keeps it: its file of polygons may be gone."""
    try:
        run = Run.open(run_dir)
    except RunError:  # no run, or none that can be gone on with: whoever opens it next says so
        return None
    region = run.manifest.region
    return region if region is not None and with_whole_path(config.area) == run.config.area else None


def record_of(
    run: Run, tile: Tile, receipts: tuple[Receipt, ...], pixels: Mapping[str, int], seconds: float, spectra: str
) -> TileRecord:
    """The record of a tile whose chunks are on disk."""
    return TileRecord(
        tile=tile.id,
        path=tile.path,
        file_size=tile.file_size,
        mtime_ns=tile.mtime_ns,
        fingerprint=run.manifest.fingerprint,
        endmembers=spectra,
        chunks=receipts,
        pixels=dict(pixels),
        seconds=round(seconds, 3),
        finished=now(),
        host=socket.gethostname(),
        versions=versions(),
    )


def create_results(
    path: Path, manifest: Manifest, endmembers: xr.DataArray, thresholds: Mapping[str, Sequence[float]] | None = None
) -> None:
    """The run's empty results store, for these endmembers; always the same bytes.

    `thresholds` are those of class maps by their names, where the settings do not tell them.
    """
    told = words(manifest.contents)
    source = f"surface reflectance: {told}" if told else "surface reflectance"
    attrs = {"title": "material maps", "source": source, "history": "hsi_dask"}
    own = {name: {"thresholds": list(values)} for name, values in (thresholds or {}).items()}
    variables = [replace(v, attrs={**v.attrs, **own.get(v.name, {})}) for v in manifest.variables]
    store.create_results(path, manifest.grid, variables, endmembers, **attrs)


def require_plain(path: Path) -> None:
    """Refuse a run directory in which a file or folder of the run is a link, a pipe or a device."""
    for names, is_right in ((_FILES, stat.S_ISREG), (_FOLDERS, stat.S_ISDIR)):
        for name in names:
            try:
                mode = (path / name).lstat().st_mode
            except OSError:  # not there, or for whoever opens it to meet
                continue
            if not is_right(mode):
                what = "a link, and may lead anywhere" if stat.S_ISLNK(mode) else "not what a run writes"
                raise RunError(f"{path / name} is {what}; put the run's own in its place")
