"""Run, Manifest, TileRecord: all state of a run is files in its directory, and a record is the commit.

Order of events, each atomic and on disk before the next: config.yaml, manifest.json (now it is a run),
endmembers.zarr, results.zarr (no chunk yet), then per tile its chunks and last its record.

A run directory may come from a stranger: what its files say is read through `hsi_dask.io.documents`, so that no name in
them leads out of the directory, and none of its own files and folders may be a link.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import re
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import xarray as xr

from hsi_dask.batch.state import lock as locks
from hsi_dask.batch.state.lock import LOCK, PARTS, Part
from hsi_dask.batch.tiles.area import with_whole_path
from hsi_dask.batch.tiles.mixture import words
from hsi_dask.batch.tiles.plan import BadTile, Plan, Tile, on_grid
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, RunError
from hsi_dask.escaping import visible
from hsi_dask.io import readers, store
from hsi_dask.io.documents import (
    Count,
    Digest,
    Form,
    Name,
    Seconds,
    Text,
    as_typed,
    between,
    matching,
    read_document,
    read_json,
    read_text,
)
from hsi_dask.io.durable import PART, digest, sync_folders, write_file
from hsi_dask.io.levels import OVERVIEWS
from hsi_dask.io.receipts import Receipt
from hsi_dask.io.regions import Region, extent_text
from hsi_dask.io.scene import SCENE
from hsi_dask.io.store import ENDMEMBERS, RESULTS, Grid
from hsi_dask.io.zarr_metadata import MOST_PIXELS, read_group_metadata
from hsi_dask.methods import registry as methods
from hsi_dask.schema import CLASS_DIMS, ENDMEMBER, MATERIAL, QUALITY, QUALITY_OF_AREA, Variable

logger = logging.getLogger(__name__)

FORMAT = 3  # of the run directory; a newer one is not read
OLDEST = 2  # that is read, but not gone on with
CONFIG, MANIFEST, RECORDS, FAILURES = "config.yaml", "manifest.json", "records", "failures"
_FILES = (CONFIG, MANIFEST, LOCK)
_FOLDERS = (
    RECORDS,
    FAILURES,
    PARTS,
    *(name + end for name in (ENDMEMBERS, RESULTS, OVERVIEWS, SCENE) for end in ("", PART)),
)
_OURS = {*_FILES, *_FOLDERS} - {OVERVIEWS, OVERVIEWS + PART}
_MOST_CELLS = 10**6  # of a mosaic; a site of 30 km has 900
_LONGEST_REASON = 5000  # characters, of a sentence about a tile
_PACKAGES = ("hsi-dask", "numpy", "numba", "dask", "xarray", "zarr", "numcodecs", "h5py")


def _is_tile_id(text: str) -> bool:
    """Whether files may be named for it: on one line, visible, no path, and not hidden."""
    plain = bool(text) and visible(text) == text and text[0] != "." and not {"/", "\\"} & set(text)
    return plain and len(text.encode()) <= 200


def _is_input(path: str) -> bool:
    return os.path.isabs(path) and "\0" not in path and len(path) <= 4096


TileId = Annotated[str, Form("a tile's name, such as 368000_4306000", _is_tile_id)]
InputPath = Annotated[str, Form("an absolute path", _is_input)]
Time = Annotated[int, between(-(2**63), 2**63)]  # ns since 1970
Moment = Annotated[str, matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "a time such as 2026-01-31T12:00:00Z")]
Versions = Mapping[Name, Text]


@dataclass(frozen=True)
class Input:
    """A tile of a run as it was when the run was made."""

    id: TileId
    path: InputPath
    file_size: Count
    mtime_ns: Time
    readable: bool = True  # False: its metadata could not be read


@dataclass(frozen=True)
class Manifest:
    """What a run is, written once.

    Attributes
    ----------
    fingerprint : of the settings that decide the numbers
    variables : the maps, as the methods declared them when the run was made
    contents : how many tiles of which product, site and year
    region : the area of interest, in the CRS of the grid; None is all
    """

    format: int
    created: Moment
    fingerprint: Digest
    grid: Grid
    variables: tuple[Variable, ...]
    tiles: tuple[Input, ...]
    versions: Versions
    contents: Mapping[Name, Mapping[Text, Count]] = field(default_factory=dict)
    region: Region | None = None


@dataclass(frozen=True)
class TileRecord:
    """Proof that a tile is done: what it was computed from, and every chunk that was written.

    Attributes
    ----------
    fingerprint, endmembers : of the settings and of the spectra
    file_size, mtime_ns : of the input file
    pixels : counts, "valid" and by reason the rest
    """

    tile: TileId
    path: InputPath
    file_size: Count
    mtime_ns: Time
    fingerprint: Digest
    endmembers: Digest
    chunks: tuple[Receipt, ...]
    pixels: Mapping[Name, Count]
    seconds: Seconds
    finished: Moment
    host: Text
    versions: Versions = field(default_factory=dict)

    @property
    def cells(self) -> set[tuple[int, int]]:
        """Rows and columns of its chunks in the mosaic, from their keys: abundance/c/0/3/5."""
        numbers = (chunk.key.rsplit("/", 2)[1:] for chunk in self.chunks)
        return {(int(row), int(column)) for row, column in numbers}


@dataclass(frozen=True)
class FailureNote:
    """Why a tile failed, and where."""

    tile: TileId
    path: InputPath
    reason: Text
    time: Moment
    host: Text


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
        _require_plain(path)
        return cls(path, _read_manifest(path / MANIFEST))

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
        whole = checksum == _checksum(values) and record.tile == tile and self._holds(record)
        return record if whole else None

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
        planes = store.endmember_planes(store.read_endmembers(self.endmembers))
        sizes = {dim: numbers.size for dim, numbers in planes.items()}
        store.require_layout(self.results, self.manifest.grid, self.manifest.variables, sizes)

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
        _write_json(self.path / RECORDS / f"{record.tile}.json", values | {"checksum": _checksum(values)})
        self.forget_failure(record.tile)

    def fail(self, tile: str, path: str, reason: str) -> None:
        """Note why a tile failed."""
        note = FailureNote(tile, path, visible(reason)[:_LONGEST_REASON], _now(), socket.gethostname())
        _write_json(self.path / FAILURES / f"{tile}.json", asdict(note))

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


def kept_region(run_dir: str | os.PathLike[str], config: RunConfig) -> Region | None:
    """The area of a run that a configuration goes on with, as the run keeps it: its file of polygons may be gone."""
    if not (Path(run_dir) / MANIFEST).is_file():
        return None
    run = Run.open(run_dir)
    return run.manifest.region if with_whole_path(config.area) == run.config.area else None


# ------------------------------------------------------------------------------------------------ create, resume


@contextmanager
def open_run_directory(
    run_dir: str | os.PathLike[str], plan: Plan, part: Part | None = None, *, same_content: bool = False
) -> Iterator[tuple[Run, Plan]]:
    """The run directory, created or resumed and locked, with the plan on its grid.

    With `same_content` input files may have other times than they had.

    Raises
    ------
    RunError
        Another run or the same part holds it; it holds something else; it cannot be written; it is a run with other
        settings, tiles or input files.
    """
    path = Path(run_dir)
    _require_usable(path)
    _require_plain(path)
    with _writable(path):
        _make_folders(path, (RECORDS, FAILURES) if part is None else (RECORDS, FAILURES, PARTS))
    with ExitStack() as stack:
        if part is None:
            stack.enter_context(locks.held_whole(path))
            held = (_created(path, plan), plan) if _holds_nothing(path) else _made(path, plan, same_content)
        else:
            if _alone(path, part) and part.number > 1:
                locks.await_first((path / MANIFEST).is_file, path)
            with locks.startup(path):
                stack.enter_context(locks.held_part(path, part))
                held = _made(path, plan, same_content)
        yield held


def _make_folders(path: Path, names: Sequence[str]) -> None:
    """Make folders whose entries survive a power cut, as what is written into them does."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in (path, *(path / name for name in names)):
        folder.mkdir(parents=True, exist_ok=True)
    sync_folders({path, *(folder.parent for folder in new)})


def _alone(path: Path, part: Part) -> bool:
    if reason := locks.unshared(path):
        logger.warning("%s: %s; start each part only once, part 1 makes the run", path, reason)
    return bool(reason)


def _holds_nothing(path: Path) -> bool:
    """Whether nothing was computed yet: such a run may be replaced by one with other settings."""
    return not (path / ENDMEMBERS).exists() and not any((path / RECORDS).glob("*.json"))


def _made(path: Path, plan: Plan, same_content: bool) -> tuple[Run, Plan]:
    return _resumed(path, plan, same_content) if (path / MANIFEST).is_file() else (_created(path, plan), plan)


def _require_usable(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file; give a folder for --out")
    try:
        held = set(os.listdir(path)) if path.is_dir() else set()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); choose another --out folder") from error
    others = sorted(name for name in held - _OURS if not name.endswith(PART))
    if others and MANIFEST not in held:
        raise RunError(f"{path} holds other things ({', '.join(others[:3])}); give a new or empty folder for --out")


def _require_plain(path: Path) -> None:
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


def _created(path: Path, plan: Plan) -> Run:
    inputs = [Input(t.id, t.path, t.file_size, t.mtime_ns) for t in plan.tiles]
    inputs += [Input(t.id, t.path, t.file_size, t.mtime_ns, readable=False) for t in plan.bad]
    manifest = Manifest(
        format=FORMAT,
        created=_now(),
        fingerprint=plan.fingerprint,
        grid=plan.grid,
        variables=plan.variables,
        tiles=tuple(sorted(inputs, key=lambda t: t.id)),
        versions=versions(),
        contents=plan.contents,
        region=plan.region,
    )
    config = plan.config.replace(tiles=[os.path.abspath(os.path.expanduser(t)) for t in plan.config.tiles])
    with _writable(path):
        write_file(path / CONFIG, config.commented_yaml().encode())
        sync_folders([path])  # before the manifest, which makes it a run
        stored = asdict(manifest) | {"variables": [_stored(variable) for variable in manifest.variables]}
        if manifest.region is None:
            del stored["region"]
        _write_json(path / MANIFEST, stored)
    return Run(path, manifest)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); choose another --out folder") from error


def _resumed(path: Path, plan: Plan, same_content: bool) -> tuple[Run, Plan]:
    run = Run.open(path).require_current()
    names = {tile.path: tile.id for tile in run.manifest.tiles}  # a file that cannot be read may not tell its own
    plan = replace(plan, bad=tuple(replace(tile, id=names.get(tile.path, tile.id)) for tile in plan.bad))
    differences = _other_area(run, plan) or [*_other_settings(run, plan), *_other_inputs(run, plan, same_content)]
    if differences:
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise RunError(
            f"{path} is a run of something else: {'; '.join(differences[:5])}{more}. "
            "Repeat it as it was, or give another --out folder"
        )
    return run, on_grid(plan, run.manifest.grid)


def _other_settings(run: Run, plan: Plan) -> list[str]:
    if run.manifest.fingerprint == plan.fingerprint:
        return []
    return plan.config.differences(run.config) or ["the settings in config.yaml were changed"]


def _other_area(run: Run, plan: Plan) -> list[str]:
    """Another area of interest touches other tiles, too."""
    before, now = run.manifest.region, plan.region
    same = (before and before.polygons) == (now and now.polygons)
    return [] if same else [f"area: {_area_text(now)}, not {_area_text(before)}"]


def _area_text(region: Region | None) -> str:
    return f"{region.name} ({extent_text(region.bounds, region.crs)})" if region else "all of it"


def _other_inputs(run: Run, plan: Plan, same_content: bool) -> Iterator[str]:
    """What differs in the tiles. A tile that failed may come back with another file: that is how it is mended."""
    known = {tile.id: tile for tile in run.manifest.tiles}
    unreadable = {tile.path: tile for tile in run.manifest.tiles if not tile.readable}
    present: tuple[Tile | BadTile, ...] = (*plan.tiles, *plan.bad)
    now = {tile.id: tile for tile in present}
    paths = {tile.path for tile in now.values()}
    failed = run.failed()
    for tile in now.values():
        before = known.get(tile.id) or unreadable.get(tile.path)
        if before is None:
            yield f"tile {tile.id} ({tile.path}) is new, and the mosaic is laid out for {len(known)} tiles"
        elif before.readable and before.id not in failed:
            record = run.record(before.id)
            if record and not tile.mtime_ns:
                continue  # gone, after it was done: that is allowed
            size, mtime = (record.file_size, record.mtime_ns) if record else (before.file_size, before.mtime_ns)
            if tile.file_size != size or not (tile.mtime_ns == mtime or (same_content and tile.mtime_ns)):
                what = _change(tile, size, mtime) if tile.mtime_ns else "is gone"
                yield f"tile {tile.id} ({tile.path}) {what}"
    for lost in known.values():
        if lost.id not in now and lost.path not in paths:
            yield f"tile {lost.id} ({lost.path}) is missing"


def _change(tile: Tile | BadTile, size: int, mtime_ns: int) -> str:
    if tile.file_size != size:
        return f"has changed ({tile.file_size} bytes, was {size})"
    return (
        "has another time of change, with as many bytes; if it is the same file, copied again, --same-content maps it "
        "once more and compares the checksums, or give it its time back: "
        f"touch -d @{mtime_ns // 10**9}.{mtime_ns % 10**9:09d} {tile.path}"
    )


# ------------------------------------------------------------------------------------------------ small things


@lru_cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


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
        finished=_now(),
        host=socket.gethostname(),
        versions=versions(),
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


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


def _checksum(values: Mapping[str, Any]) -> str:
    """Of a record's content, so that an edited one vouches for nothing."""
    return digest(json.dumps(values, sort_keys=True).encode())


def _write_json(path: Path, values: Any) -> None:
    write_file(path, json.dumps(values, indent=1).encode())
    sync_folders([path.parent])


_STORED = ("name", "dims", "dtype", "long_name", "units", "role", "better", "of", "limits", "stored_share")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _stored(variable: Variable) -> dict[str, Any]:
    """A map's specification as JSON keeps it."""
    return {key: getattr(variable, key) for key in _STORED}


def _upgraded(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A manifest of today from that of an earlier release, which named its maps and a code for its CRS."""
    found = dict(values)
    maps = found.get("variables")
    if isinstance(maps, list) and all(isinstance(name, str) for name in maps):
        known = [QUALITY if name == QUALITY.name else methods.variable(name) for name in maps]
        if None in known:
            raise RunError(
                f"{path} is damaged: no method makes one of {', '.join(maps)[:200]}; start a new run directory"
            )
        found["variables"] = [json.loads(json.dumps(_stored(variable))) for variable in known if variable]
    if isinstance(grid := found.get("grid"), dict) and "epsg" in grid:
        code = as_typed(grid["epsg"], int, path)
        found["grid"] = {"crs": f"EPSG:{code}", **{key: value for key, value in grid.items() if key != "epsg"}}
    return found


def _as_map(variable: Variable, path: Path) -> Variable:
    """A map's specification, if it is one that a store may hold."""
    if variable.name == QUALITY.name:
        return QUALITY_OF_AREA if variable.dtype == QUALITY_OF_AREA.dtype else QUALITY
    words = [variable.name, *([variable.of] if variable.of else [])]
    known = variable.dims[-2:] == CLASS_DIMS and set(variable.dims[:-2]) <= {ENDMEMBER, MATERIAL}
    if not known or variable.dtype not in ("float32", "uint8", "int16") or not all(map(_WORD.fullmatch, words)):
        raise RunError(f"{path} is damaged: {visible(variable.name)[:80]!r} is no map; start a new run directory")
    return variable


def _read_manifest(path: Path) -> Manifest:
    values = read_json(path)
    found = as_typed(values.get("format") if isinstance(values, dict) else None, int, path)
    if found > FORMAT:
        raise RunError(f"{path} was written by a newer hsi_dask (format {found}, not {FORMAT}); update hsi_dask")
    if found < OLDEST:
        raise RunError(
            f"{path} was written by an older hsi_dask (format {found}, not {FORMAT}); start a new run directory"
        )
    manifest = as_typed(_upgraded(values, path), Manifest, path)
    manifest = replace(manifest, variables=tuple(_as_map(variable, path) for variable in manifest.variables))
    grid, names = manifest.grid, [tile.id for tile in manifest.tiles]
    cells = math.prod(-(-size // chunk) for size, chunk in zip(grid.shape, grid.chunk, strict=True))
    fits = grid.chunk[0] <= grid.shape[0] and grid.chunk[1] <= grid.shape[1]
    if not fits or cells > _MOST_CELLS or math.prod(grid.shape) > MOST_PIXELS:
        raise RunError(
            f"{path} is damaged: no mosaic is {grid.shape} in chunks of {grid.chunk}; start a new run directory"
        )
    if len(set(names)) < len(names):
        raise RunError(f"{path} is damaged: it names a tile twice; start a new run directory")
    return manifest
