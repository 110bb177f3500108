"""Creating and resuming a run directory, under its lock.

Order of events, each atomic and on disk before the next: config.yaml, manifest.json (now it is a run),
endmembers.zarr, results.zarr (no chunk yet), then per tile its chunks and last its record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from hsi_dask.batch.state import lock as locks
from hsi_dask.batch.state.lock import PARTS, Part
from hsi_dask.batch.state.manifest import (
    CONFIG,
    FAILURES,
    FORMAT,
    MANIFEST,
    RECORDS,
    Input,
    Manifest,
    now,
    stored,
    versions,
    write_json,
)
from hsi_dask.batch.state.run_directory import OWN_NAMES, Run, require_plain
from hsi_dask.batch.tiles.cells import CELLS
from hsi_dask.batch.tiles.plan import BadTile, Plan, Tile, on_grid
from hsi_dask.errors import RunError, counted
from hsi_dask.io.durable import PART, sync_folders, write_file
from hsi_dask.io.endmember_store import ENDMEMBERS
from hsi_dask.io.regions import Region, extent_text

logger = logging.getLogger(__name__)


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
    require_plain(path)
    with _writable(path):
        _make_folders(path, (RECORDS, FAILURES) if part is None else (RECORDS, FAILURES, PARTS))
    with ExitStack() as stack:
        if part is None:
            stack.enter_context(locks.held_whole(path))
            held = (_created(path, plan), plan) if _holds_nothing(path) else _made(path, plan, same_content)
        else:
            if _unshared(path) and part.number > 1:
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


def _unshared(path: Path) -> bool:
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
    others = sorted(name for name in held - OWN_NAMES if not name.endswith(PART))
    if others and MANIFEST not in held:
        raise RunError(f"{path} holds other things ({', '.join(others[:3])}); give a new or empty folder for --out")


def _created(path: Path, plan: Plan) -> Run:
    inputs = [Input(t.id, t.path, t.file_size, t.mtime_ns) for t in plan.tiles]
    inputs += [Input(t.id, t.path, t.file_size, t.mtime_ns, readable=False) for t in plan.bad]
    manifest = Manifest(
        format=FORMAT,
        created=now(),
        fingerprint=plan.fingerprint,
        grid=plan.grid,
        variables=plan.variables,
        tiles=tuple(sorted(inputs, key=lambda t: t.id)),
        versions=versions(),
        contents=plan.contents,
        sources=plan.sources,
        checksums=plan.checksums,
        region=plan.region,
    )
    cells = {Path(tile.path).name: tile.cell for tile in plan.tiles if tile.cell is not None}
    config = plan.config.replace(tiles=[os.path.abspath(os.path.expanduser(t)) for t in plan.config.tiles])
    with _writable(path):
        write_file(path / CONFIG, config.commented_yaml().encode())
        if cells:
            _make_folders(path, (CELLS,))
        for name, cell in cells.items():
            write_json(path / CELLS / name, cell.document())
        sync_folders([path])  # before the manifest, which makes it a run
        values = asdict(manifest) | {"variables": [stored(variable) for variable in manifest.variables]}
        absent = [key for key in ("sources", "checksums", "region") if not values[key]]  # earlier releases know none
        write_json(path / MANIFEST, {key: value for key, value in values.items() if key not in absent})
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
        made, wanted = ([variable.name for variable in each.variables] for each in (run.manifest, plan))
        return [f"maps: {', '.join(wanted)}, not {', '.join(made)}"] if set(made) != set(wanted) else []
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
            yield f"tile {tile.id} ({tile.path}) is new, and the mosaic is laid out for {counted(len(known), 'tile')}"
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
