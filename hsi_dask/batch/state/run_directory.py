"""Run, Manifest, TileRecord: all state of a run is files in its directory, and a record is the commit.

Order of events, each atomic and on disk before the next: config.yaml, manifest.json (now it is a run),
endmembers.zarr, results.zarr (no chunk yet), then per tile its chunks and last its record.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import xarray as xr

from hsi_dask.batch.state import lock as locks
from hsi_dask.batch.state.lock import LOCK, PARTS, Part
from hsi_dask.batch.tiles.plan import BadTile, Plan, Tile, on_grid
from hsi_dask.config import RunConfig
from hsi_dask.errors import RunError
from hsi_dask.io import readers, store
from hsi_dask.io.durable import PART, digest, sync_folders, write_file
from hsi_dask.io.scene import SCENE
from hsi_dask.io.store import ENDMEMBERS, RESULTS, Grid, Receipt
from hsi_dask.methods import registry as methods
from hsi_dask.schema import CLASS_DIMS, ENDMEMBER, MATERIAL, QUALITY, Variable

logger = logging.getLogger(__name__)

FORMAT = 3  # of the run directory; a newer one is not read
OLDEST = 2  # that is read, but not gone on with
CONFIG, MANIFEST, RECORDS, FAILURES = "config.yaml", "manifest.json", "records", "failures"
_OURS = {
    CONFIG, MANIFEST, RECORDS, FAILURES, LOCK, PARTS, ENDMEMBERS, RESULTS, SCENE, ENDMEMBERS + PART, RESULTS + PART
}  # fmt: skip
_PACKAGES = ("hsi-dask", "numpy", "numba", "dask", "xarray", "zarr", "numcodecs", "h5py")


@dataclass(frozen=True)
class Input:
    """A tile of a run as it was when the run was made."""

    id: str
    path: str
    file_size: int
    mtime_ns: int
    readable: bool = True  # False: its metadata could not be read


@dataclass(frozen=True)
class Manifest:
    """What a run is, written once.

    Attributes
    ----------
    fingerprint : of the settings that decide the numbers
    variables : the maps, as the methods declared them when the run was made
    """

    format: int
    created: str
    fingerprint: str
    grid: Grid
    variables: tuple[Variable, ...]
    tiles: tuple[Input, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class TileRecord:
    """Proof that a tile is done: what it was computed from, and every chunk that was written.

    Attributes
    ----------
    fingerprint, endmembers : of the settings and of the spectra
    file_size, mtime_ns : of the input file
    pixels : counts, "valid" and by reason the rest
    """

    tile: str
    path: str
    file_size: int
    mtime_ns: int
    fingerprint: str
    endmembers: str
    chunks: tuple[Receipt, ...]
    pixels: Mapping[str, int]
    seconds: float
    finished: str
    host: str
    versions: Mapping[str, str] = field(default_factory=dict)


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
        return cls(path, _read_manifest(path / MANIFEST))

    @cached_property
    def config(self) -> RunConfig:
        return RunConfig.from_yaml(self.path / CONFIG)

    @property
    def results(self) -> Path:
        return self.path / RESULTS

    @property
    def endmembers(self) -> Path:
        return self.path / ENDMEMBERS

    def record(self, tile: str) -> TileRecord | None:
        """The tile's record, trusted or not; None when there is none, or none as it was written."""
        try:
            values = json.loads((self.path / RECORDS / f"{tile}.json").read_text(encoding="utf-8"))
            if values.pop("checksum") != _checksum(values) or values["tile"] != tile:
                return None
            return TileRecord(**values | {"chunks": tuple(Receipt(*c) for c in values["chunks"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

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
        return records

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
            attributes = json.loads((self.endmembers / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        except (OSError, ValueError, KeyError):
            return None
        return str(attributes.get("digest"))

    def commit(self, record: TileRecord) -> None:
        """Write the record, last of all, and forget the tile's failure."""
        values = asdict(record) | {"chunks": [tuple(c) for c in record.chunks]}
        _write_json(self.path / RECORDS / f"{record.tile}.json", values | {"checksum": _checksum(values)})
        self.forget_failure(record.tile)

    def fail(self, tile: str, path: str, reason: str) -> None:
        """Note why a tile failed."""
        values = {"tile": tile, "path": path, "reason": reason, "time": _now(), "host": socket.gethostname()}
        _write_json(self.path / FAILURES / f"{tile}.json", values)

    def share(self, plan: Plan, part: Part) -> Plan:
        """The part's own tiles of a plan, by their order in the manifest: all parts agree without a word."""
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
            return {name[:-5] for name in os.listdir(self.path / folder) if name[0] != "." and name[-5:] == ".json"}
        except FileNotFoundError:
            return set()

    def _failure(self, tile: str) -> str:
        try:
            return str(json.loads((self.path / FAILURES / f"{tile}.json").read_text(encoding="utf-8"))["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return "its failure note cannot be read"

    def _trusts(self, record: TileRecord, spectra: str | None) -> bool:
        if (record.fingerprint, record.endmembers) != (self.manifest.fingerprint, spectra):
            return False
        try:
            return readers.identity(record.path) == (record.file_size, record.mtime_ns)
        except OSError:
            return True  # inputs may be moved away once their tile is done


# ------------------------------------------------------------------------------------------------ create, resume


@contextmanager
def open_run_directory(
    run_dir: str | os.PathLike[str], plan: Plan, part: Part | None = None
) -> Iterator[tuple[Run, Plan]]:
    """The run directory, created or resumed and locked, with the plan on its grid.

    Raises
    ------
    RunError
        Another run or the same part holds it; it holds something else; it cannot be written; it is a run with other
        settings, tiles or input files.
    """
    path = Path(run_dir)
    _require_usable(path)
    try:
        _make_folders(path, (RECORDS, FAILURES) if part is None else (RECORDS, FAILURES, PARTS))
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); choose another --out folder") from error
    with ExitStack() as stack:
        if part is None:
            stack.enter_context(locks.held_whole(path))
            held = (_created(path, plan), plan) if _holds_nothing(path) else _made(path, plan)
        else:
            if _alone(path, part) and part.number > 1:
                locks.await_first((path / MANIFEST).is_file, path)
            with locks.door(path):
                stack.enter_context(locks.held_part(path, part))
                held = _made(path, plan)
        yield held


def _make_folders(path: Path, names: Sequence[str]) -> None:
    """Folders whose entries survive a power cut: what is written into them later is worth as much as these."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in (path, *(path / name for name in names)):
        folder.mkdir(parents=True, exist_ok=True)
    sync_folders({path, *(folder.parent for folder in new)})


def _alone(path: Path, part: Part) -> bool:
    if reason := locks.unshared(path):
        logger.warning("%s: %s; start each part only once, part 1 makes the run", path, reason)
    return bool(reason)


def _holds_nothing(path: Path) -> bool:
    """A run that found no endmembers has computed nothing: it makes way for one with other settings."""
    return not (path / ENDMEMBERS).exists() and not any((path / RECORDS).glob("*.json"))


def _made(path: Path, plan: Plan) -> tuple[Run, Plan]:
    return _resumed(path, plan) if (path / MANIFEST).is_file() else (_created(path, plan), plan)


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


def _created(path: Path, plan: Plan) -> Run:
    inputs = [Input(t.id, t.path, t.file_size, t.mtime_ns) for t in plan.tiles]
    inputs += [Input(t.id, t.path, t.file_size, t.mtime_ns, readable=False) for t in plan.bad]
    manifest = Manifest(
        format=FORMAT,
        created=_now(),
        fingerprint=plan.config.fingerprint(),
        grid=plan.grid,
        variables=plan.variables,
        tiles=tuple(sorted(inputs, key=lambda t: t.id)),
        versions=versions(),
    )
    config = plan.config.replace(tiles=[os.path.abspath(os.path.expanduser(t)) for t in plan.config.tiles])
    try:
        write_file(path / CONFIG, config.commented_yaml().encode())
        sync_folders([path])  # before the manifest, which makes it a run
        stored = asdict(manifest) | {"variables": [_stored(variable) for variable in manifest.variables]}
        _write_json(path / MANIFEST, stored)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); choose another --out folder") from error
    return Run(path, manifest)


def _resumed(path: Path, plan: Plan) -> tuple[Run, Plan]:
    run = Run.open(path)
    if run.manifest.format < FORMAT:
        raise RunError(
            f"{path} was begun by an older hsi_dask (format {run.manifest.format}, not {FORMAT}): it can be looked at, "
            "but not gone on with; start a new run directory"
        )
    names = {tile.path: tile.id for tile in run.manifest.tiles}  # a file that cannot be read may not tell its own
    plan = replace(plan, bad=tuple(replace(tile, id=names.get(tile.path, tile.id)) for tile in plan.bad))
    differences = [*_other_settings(run, plan), *_other_inputs(run, plan)]
    if differences:
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise RunError(
            f"{path} is a run of something else: {'; '.join(differences[:5])}{more}. "
            "Repeat it as it was, or give another --out folder"
        )
    return run, on_grid(plan, run.manifest.grid)


def _other_settings(run: Run, plan: Plan) -> list[str]:
    if run.manifest.fingerprint == plan.config.fingerprint():
        return []
    return plan.config.differences(run.config) or ["the settings in config.yaml were changed"]


def _other_inputs(run: Run, plan: Plan) -> Iterator[str]:
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
            if (tile.file_size, tile.mtime_ns) != (size, mtime):
                what = _change(tile, size, mtime) if tile.mtime_ns else "is gone"
                yield f"tile {tile.id} ({tile.path}) {what}"
    for lost in known.values():
        if lost.id not in now and lost.path not in paths:
            yield f"tile {lost.id} ({lost.path}) is missing"


def _change(tile: Tile | BadTile, size: int, mtime_ns: int) -> str:
    if tile.file_size != size:
        return f"has changed ({tile.file_size} bytes, was {size})"
    return (
        "has another time of change, with as many bytes; if it is the same file, copied again, give it its time back: "
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


def create_results(path: Path, manifest: Manifest, endmembers: xr.DataArray) -> None:
    """The run's empty results store, for these endmembers; always the same bytes."""
    attrs = {"title": "material maps", "source": "NEON AOP surface reflectance", "history": "hsi_dask"}
    store.create_results(path, manifest.grid, manifest.variables, endmembers, **attrs)


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


def _variable(stored: Any) -> Variable:
    """A map's specification from JSON; of an earlier release its name alone, which the methods know."""
    if isinstance(stored, str):
        found = QUALITY if stored == QUALITY.name else methods.variable(stored)
        if found is None:
            raise ValueError(f"no method makes {stored}")
        return found
    if stored["name"] == QUALITY.name:
        return QUALITY
    pairs = {key: tuple(stored[key]) if stored[key] is not None else None for key in ("dims", "limits")}
    variable = Variable(**{key: stored[key] for key in _STORED} | pairs)
    words = [variable.name, *([variable.of] if variable.of else [])]
    known = variable.dims[-2:] == CLASS_DIMS and set(variable.dims[:-2]) <= {ENDMEMBER, MATERIAL}
    if not known or variable.dtype not in ("float32", "uint8", "int16") or not all(map(_WORD.fullmatch, words)):
        raise ValueError(f"{stored['name']!r} is not a map")
    return variable


def _read_manifest(path: Path) -> Manifest:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if (found := values["format"]) > FORMAT:
            raise RunError(f"{path} was written by a newer hsi_dask (format {found}, not {FORMAT}); update hsi_dask")
        if found < OLDEST:
            raise RunError(
                f"{path} was written by an older hsi_dask (format {found}, not {FORMAT}); start a new run directory"
            )
        return Manifest(
            **values
            | {
                "grid": Grid.from_json(values["grid"]),
                "variables": tuple(map(_variable, values["variables"])),
                "tiles": tuple(Input(**tile) for tile in values["tiles"]),
            }
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} is damaged ({error!r}); start a new run directory") from error
