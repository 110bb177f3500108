"""A run directory of somebody else, mutated and linked: a sentence, or what is right; nothing outside it changes.

The oracle is a folder beside it that must stay as it was. `HSI_DASK_FUZZ=2500 pytest tests/batch/test_hostile_state.py`
tries so many mutations of each kind of state files. `HSI_DASK_FUZZ=20000` with `-k by_their_readers` tries the readers
of scenes, cells and chunks alone, without a run around them: some milliseconds a case.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import hsi_dask as hsi
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.manifest import checksum_of
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.config import RunConfig
from hsi_dask.errors import FileFormatError, HsiDaskError, RunError
from hsi_dask.escaping import visible
from hsi_dask.io.readers import identity as read_identity
from hsi_dask.io.readers import read_source
from hsi_dask.io.scene import planes_file, read_arrays, read_planes, write_arrays
from hsi_dask.io.store import open_maps
from hsi_dask.overviews.overviews import open_overviews
from hsi_dask.synthetic import Site

TILE = "368040_4306000"
CASES = int(os.environ.get("HSI_DASK_FUZZ", "0")) or 50  # of each kind of file
EVERY = 10 if CASES <= 50 else 100  # cases of which one does what takes long, too
FIRST = int(os.environ.get("HSI_DASK_FUZZ_FIRST", "0"))


# ------------------------------------------------------------------------------------------------ names


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's, which must stay as it is."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "settings.json").write_text("{}")
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"settings.json": "{}"}


@pytest.fixture
def manifest(done_run: Path) -> dict[str, Any]:
    return dict(json.loads((done_run / "manifest.json").read_text()))


NAMES = [
    "../home/settings",
    "/tmp/x",
    "a/b",
    "a\\b",
    ".hidden",
    "..",
    "",
    "a\x1b[2J",
    "a\nb",
    "\ud800",
    "x" * 300,
    "a\0b",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_tile_s_name_that_is_no_name_is_refused(
    name: str, done_run: Path, manifest: dict[str, Any], outside: Path, config: RunConfig
) -> None:
    manifest["tiles"][0] |= {"id": name, "readable": False}
    (done_run / "manifest.json").write_text(json.dumps(manifest))
    for act in (Run.open, verify, open_overviews, lambda path: run(config, path)):
        with pytest.raises(RunError, match=r"manifest.json is damaged: tiles\[0\].id is .*, not a tile's name"):
            act(done_run)


@pytest.mark.parametrize(
    "key", ["../../home/settings.json", "abundance/c/0/../../x", "/etc/passwd", "abundance/c/0/9/9", "other/c/0/0/0",
            "abundance/zarr.json", "abundance/c/-1/0/0", "abundance/c/0", "quality/c/1/99999999"],
)  # fmt: skip
def test_a_record_whose_chunks_are_none_of_this_mosaic_vouches_for_nothing(
    key: str, done_run: Path, signed: Callable[..., None], outside: Path
) -> None:
    signed(done_run, chunks=[[key, 2, "0" * 64]])
    state = Run.open(done_run)
    assert TILE not in state.done()
    assert {finding.tile for finding in verify(done_run)} == {TILE}
    assert len(open_overviews(done_run).records) == 5


@pytest.fixture
def signed() -> Callable[..., None]:
    """Changes a record and signs it anew, as its writer could."""

    def change(run_dir: Path, **values: Any) -> None:
        path = run_dir / "records" / f"{TILE}.json"
        found = json.loads(path.read_text()) | values
        found.pop("checksum")
        path.write_text(json.dumps(found | {"checksum": checksum_of(found)}))

    return change


@pytest.mark.parametrize(
    "values",
    [
        {"path": "relative.h5"}, {"file_size": -1}, {"mtime_ns": 2**70}, {"pixels": {"valid": -5}}, {"pixels": [1]},
        {"seconds": "fast"}, {"seconds": 1e300}, {"finished": "<b>now</b>"}, {"host": 7}, {"versions": {"a b": "1"}},
        {"other": 1}, {"tile": "368080_4306000"},
    ],
    ids=str,
)  # fmt: skip
def test_a_signed_record_of_other_values_is_none(
    values: dict[str, Any], done_run: Path, signed: Callable[..., None]
) -> None:
    signed(done_run, **values)
    assert Run.open(done_run).record(TILE) is None


def test_a_signed_record_with_unchanged_values_is_trusted(done_run: Path, signed: Callable[..., None]) -> None:
    signed(done_run)
    assert TILE in Run.open(done_run).done()


def test_records_and_failures_of_tiles_that_the_run_does_not_have_are_not_looked_at(done_run: Path) -> None:
    (done_run / "records" / "x\x1b[2J.json").write_text("{}")
    (done_run / "failures" / "y.json").write_text("{}")
    state = Run.open(done_run)
    assert (len(state.recorded()), state.failed()) == (6, {})


def test_a_failure_s_reason_is_shown_on_one_line_without_control_characters(done_run: Path) -> None:
    (done_run / "records" / f"{TILE}.json").unlink()
    note = {"tile": TILE, "path": "/x", "reason": "\ud800\x1b[2J\n6 of 6", "time": "2026-01-01T00:00:00Z", "host": "h"}
    (done_run / "failures" / f"{TILE}.json").write_text(json.dumps(note))
    assert Run.open(done_run).failed() == {TILE: r"\ud800\x1b[2J\n6 of 6"}
    (done_run / "failures" / f"{TILE}.json").write_text(json.dumps(note | {"reason": 5}))
    assert Run.open(done_run).failed() == {TILE: "its failure note cannot be read"}


# ------------------------------------------------------------------------------------------------ links


OURS = [
    "config.yaml",
    "manifest.json",
    "lock",
    "records",
    "failures",
    "results.zarr",
    "endmembers.zarr",
    "results.zarr.part",
]


@pytest.mark.parametrize("name", OURS)
def test_a_run_directory_with_a_link_of_ours_is_refused(
    name: str, done_run: Path, outside: Path, config: RunConfig
) -> None:
    held = done_run / name
    target = outside.parent / "target"
    if held.exists():
        held.rename(target)
    else:
        target.mkdir()
    before = sorted(target.rglob("*"))
    held.symlink_to(target)
    for act in (Run.open, lambda path: run(config, path)):
        with pytest.raises(RunError, match=rf"{name} is a link, and may lead anywhere"):
            act(done_run)
    assert sorted(target.rglob("*")) == before


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "lock"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(name: str, done_run: Path, config: RunConfig) -> None:
    (done_run / name).unlink()
    os.mkfifo(done_run / name)
    with pytest.raises(RunError, match=r"is not what a run writes|is not a run directory"):
        run(config, done_run)


def test_a_record_that_is_a_link_is_none_and_what_it_points_to_stays(done_run: Path, outside: Path) -> None:
    record = done_run / "records" / f"{TILE}.json"
    record.unlink()
    record.symlink_to(outside / "settings.json")
    assert Run.open(done_run).record(TILE) is None
    Run.open(done_run).fail(TILE, "/x.h5", "why")


def test_a_run_directory_that_is_itself_reached_by_a_link_works(done_run: Path, config: RunConfig) -> None:
    link = done_run.parent / "link"
    link.symlink_to(done_run)
    assert len(run(config, link).skipped) == 6
    assert verify(link) == []
    assert hsi.open_results(link).residual.count() > 0


def test_a_name_with_wildcards_removes_nobody_s_parts(tmp_path: Path) -> None:
    from hsi_dask.io.durable import write_file

    other = tmp_path / ".other.json.12345678.part"
    other.write_text("x")
    write_file(tmp_path / "*.json", b"{}")
    assert other.exists()


# ------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("chunks", ["auto", None])
def test_a_chunk_that_does_not_inflate_is_named_by_who_opens_the_maps(done_run: Path, chunks: Any) -> None:
    path = done_run / "results.zarr" / "sam_angle" / "c" / "1" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[20:60] = b"\xff" * 40  # behind the header, which tells the size
    path.write_bytes(data)
    maps = hsi.open_results(done_run, chunks=chunks)
    assert int(maps.sam_angle[0].count()) > 0, "other chunks are none the worse"
    with pytest.raises(RunError, match=r"sam_angle/c/1/0/0 is damaged: .*; `hsi-dask verify` names its tile"):
        maps.load()


@pytest.mark.parametrize("path", ["/a/\ud800.h5", "/a/\0.h5", "a.h5", "/" + "a" * 5000, "/a/b.cell.json"], ids=ascii)
def test_a_cell_of_a_path_that_is_none_is_refused(path: str, other_runs: dict[str, Path], tmp_path: Path) -> None:
    document = next(iter(sorted((other_runs["cells"] / "cells").iterdir())))
    cell = json.loads(document.read_text())
    cell["parts"][0]["path"] = path
    (tmp_path / "a.cell.json").write_text(json.dumps(cell))
    with pytest.raises(FileFormatError, match=r"parts\[0\].path is .*, not (an absolute path|a path of a tile)"):
        read_source(tmp_path / "a.cell.json")


def test_a_cell_whose_tile_is_gone_names_it(other_runs: dict[str, Path], tmp_path: Path) -> None:
    document = next(iter(sorted((other_runs["cells"] / "cells").iterdir())))
    cell = json.loads(document.read_text())
    cell["parts"][0]["path"] = "/nowhere/tile.h5"
    (tmp_path / "a.cell.json").write_text(json.dumps(cell))
    with pytest.raises(FileFormatError, match=r"cannot be read: /nowhere/tile.h5 is gone; restore it"):
        read_source(tmp_path / "a.cell.json")


def test_a_damaged_cell_takes_the_trust_from_its_tile_alone(other_runs: dict[str, Path], tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(other_runs["cells"], tmp_path / "run"))
    state = Run.open(run_dir)
    cell = next(iter(sorted(Path(state.manifest.tiles[0].path).parent.iterdir())))
    before = state.done()
    cell.write_text("{}")
    assert len(before) - len(Run.open(run_dir).done()) == 1


def test_planes_that_are_not_as_large_as_they_say_are_none(tmp_path: Path) -> None:
    planes, identity = np.arange(24, dtype="f4").reshape(2, 3, 4), {"tile": "a"}
    with planes_file(tmp_path / "kept", (2, 3, 4), identity) as file:
        file[:, :1, :], file[:, 1:, 1:], file[:, 1:, :1] = planes[:, :1], planes[:, 1:, 1:], planes[:, 1:, :1]
    np.testing.assert_array_equal(read_planes(tmp_path / "kept", identity), planes)
    assert read_planes(tmp_path / "kept", {"tile": "b"}) is None
    (tmp_path / "kept" / "planes.f4").write_bytes(planes.tobytes()[:-4])
    assert read_planes(tmp_path / "kept", identity) is None


def test_statistics_with_a_fill_value_beyond_all_numbers_are_none(tmp_path: Path) -> None:
    write_arrays(tmp_path / "whole", {"pixels": np.arange(3)}, {})
    assert read_arrays(tmp_path / "whole", {}) is not None
    path = tmp_path / "whole" / "pixels" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fill_value": 10**30}))
    assert read_arrays(tmp_path / "whole", {}) is None


# ------------------------------------------------------------------------------------------------ mutations


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Half of the times the JSON's values are changed, else its bytes."""
    if chance.random() < 0.6:
        try:
            values = json.loads(data)
        except ValueError:
            pass
        else:
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                values = _changed(values, chance)
            return json.dumps(values).encode()
    text = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(text) + 1)
        what = chance.randrange(4)
        if what == 0:
            text[at : at + 1] = chance.choice((b"", b"\xff", b"\x00", b'"', b"[", b"{", b"9", b"\\", b"-", b"e", b"\n"))
        elif what == 1:
            del text[at : at + chance.choice((1, 5, 50))]
        elif what == 2:
            text[at:at] = text[at : at + chance.choice((1, 10, 100))]
        else:
            text[at:at] = chance.choice((b"\xed\xa0\x80", b"\\ud800", b"NaN", b"1e999", b"&a [*a]", b"!!python/object"))
    return bytes(text)


ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, -1e308, 0.5, "", "x", "..", "/", "/etc/passwd", "../../x",
    "\x1b[2J", "\ud800", "NaN", "numcodecs.pickle", "datetime64", "float16", [], {}, [[]], [1, 2, 3], {"a": 1},
    "x" * 5000,
    "days since 2000-01-01", [None], [-1, 2], ["a", "b"], {"name": "x"}, "$\\frac{$", "<b>", 99999, 255, 3.7,
]  # fmt: skip


def _changed(value: Any, chance: random.Random) -> Any:
    """Another value somewhere inside: replaced, left out, doubled or renamed."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key, found = chance.choice(list(value)), dict(value)
        what = chance.random()
        if what < 0.1:
            del found[key]
        elif what < 0.15:
            found[str(chance.choice(ODD))] = found.pop(key)
        else:
            found[key] = _changed(found[key], chance)
        return found
    if isinstance(value, list) and value and chance.random() < 0.8:
        at, parts = chance.randrange(len(value)), list(value)
        what = chance.random()
        if what < 0.1:
            del parts[at]
        elif what < 0.2:
            parts.append(parts[at])
        else:
            parts[at] = _changed(parts[at], chance)
        return parts
    if isinstance(value, int | float) and not isinstance(value, bool) and chance.random() < 0.4:
        return value + chance.choice((-1, 1, 1000, -1000, 0.5))
    return chance.choice(ODD)


def status(path: Path) -> None:
    state = Run.open(path)
    json.dumps([state.done(), state.failed(), state.pending(), repr(state.config)])


def open_all(path: Path) -> None:
    hsi.open_results(path).isel(y=slice(0, 3)).load()


def extract(path: Path) -> None:
    maps = hsi.open_results(path)
    maps.hsi.at([[float(maps.x[3]), float(maps.y[3])]])
    hsi.accuracy(path, pd.DataFrame({"x": maps.x[3:4], "y": maps.y[3:4], "is": ["1"]}), "is")


def paint(path: Path) -> None:
    from hsi_dask.show.canvas import Canvas

    canvas = Canvas(path)
    for layer in canvas.layers.values():
        canvas.paint(layer, canvas.bounds)
    west, _, _, north = canvas.bounds
    canvas.pixel(west + 1, north - 1)


def draw(path: Path) -> None:
    from hsi_dask.show.report import report

    report(path)


def write_out(path: Path) -> None:
    from hsi_dask.show.export import export

    export(path, path.parent / "gis")


def resume(path: Path) -> None:
    run(RunConfig(), path)


QUICK: list[Callable[[Path], Any]] = [status, open_all, hsi.read_spectra]
OF_CHUNKS: list[Callable[[Path], Any]] = [*QUICK, extract]
SLOW: list[Callable[[Path], Any]] = [verify, paint, draw, write_out, resume]


def look(run_dir: Path, number: int, quick: list[Callable[[Path], Any]] = QUICK) -> list[str]:
    """What a person does with a run, of what takes long one thing at a time; what came of it but our sentences."""
    slow = [] if number % EVERY else [SLOW[number // EVERY % len(SLOW)]]
    return [said for act in (*quick, *slow) if (said := wrong(act, run_dir))]


def wrong(act: Callable[[Path], Any], run_dir: Path) -> str:
    try:
        act(run_dir)
    except HsiDaskError as error:
        return "" if visible(error) == str(error) and len(str(error)) < 3000 else f"{act}: {error!r}"
    except OSError as error:  # of a chunk, as Python's users meet it; the command line says it in a sentence
        return "" if error.strerror and error.filename else f"{act}: {error!r}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{act}: {error!r} at {place.filename}:{place.lineno}"
    return ""


KINDS = {
    "manifest": ["manifest.json"],
    "record": [f"records/{TILE}.json"],
    "failure": [f"failures/{TILE}.json"],
    "configuration": ["config.yaml"],
    "results": [f"results.zarr/{name}zarr.json" for name in ("", "abundance/", "y/", "quality/", "spatial_ref/")],
    "endmembers": [f"endmembers.zarr/{name}zarr.json" for name in ("", "endmembers/", "wavelength/", "fwhm/")],
    "overviews": [f"overviews.zarr/{name}zarr.json" for name in ("", "1/", "1/quicklook/", "1/x/")],
    "lock": ["lock"],
    "chunks": [f"results.zarr/{name}/c/0/0" for name in ("sam_class", "quality", "residual")],
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with overviews and a failure."""
    path = Path(shutil.copytree(undisturbed, tmp_path_factory.mktemp("seen") / "run"))
    open_overviews(path)
    Run.open(path).fail(TILE, "/x.h5", "once it could not be read")
    return path


OF_OTHER_RUNS = {
    "scene": ["moments/whole/", "ranges/whole/", f"moments/tile-{TILE}/"],
    "cells": ["cells/"],
}


@pytest.fixture(scope="module")
def other_runs(config: RunConfig, site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that keeps statistics of its scene, and one over cells of overlapping tiles."""
    folder = tmp_path_factory.mktemp("others")
    run(config.replace(methods=("sam", "ace"), thresholds={"relative": True, "sam": 0.5}), folder / "scene")
    (folder / "again").mkdir()
    shutil.copy2(site.paths[0], folder / "again")
    run(config.replace(overlap="first", tiles=(*config.tiles, str(folder / "again"))), folder / "cells")
    return {name: folder / name for name in OF_OTHER_RUNS}


def mutate_and_look(kind: str, seen: Path, names: list[str], run_dir: Path) -> list[str]:
    """What came of mutating one of these files at a time, but our sentences."""
    found, quick = list[str](), OF_CHUNKS if kind == "chunks" else QUICK
    shutil.copytree(seen, run_dir)
    for number in range(FIRST, FIRST + CASES):
        chance = random.Random(f"{kind}{number}")
        name = chance.choice(names)
        data = mutated((seen / name).read_bytes(), chance)
        (run_dir / name).write_bytes(data)
        found += [f"{kind} {number}: {name} as {data[:300]!r}: {what}" for what in look(run_dir, number, quick)]
        if number % EVERY == 0:  # it may have written
            shutil.rmtree(run_dir)
            shutil.copytree(seen, run_dir)
        else:
            shutil.copy2(seen / name, run_dir / name)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_state_files_end_in_our_sentences_alone(kind: str, seen: Path, tmp_path: Path) -> None:
    found = mutate_and_look(kind, seen, KINDS[kind], tmp_path / "run")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("kind", OF_OTHER_RUNS)
def test_mutated_scenes_and_cells_end_in_our_sentences_alone(
    kind: str, other_runs: dict[str, Path], tmp_path: Path
) -> None:
    seen = other_runs[kind]
    top = seen / "scene.zarr" if kind == "scene" else seen
    files = [path for part in OF_OTHER_RUNS[kind] for path in sorted((top / part).rglob("*")) if path.is_file()]
    found = mutate_and_look(kind, seen, [str(path.relative_to(seen)) for path in files], tmp_path / "run")
    assert not found, "\n".join(found)


# ------------------------------------------------------------------------------------------------ readers alone

TIMEOUT = 150.0  # seconds of a case, then the process shows where it is and ends; an honest one takes 0.01
MEMORY = 2**30  # bytes that the process may grow by


class Reader(NamedTuple):
    """Files of a run, and what reads one of them: the numbers in it, None where it says that there are none.

    has_digest : whether changed numbers cannot go unseen
    """

    files: list[Path]
    read: Callable[[Path], Any]
    has_digest: bool


def reader_of_scenes(run_dir: Path) -> Reader:
    folders = sorted(path.parent for path in (run_dir / "scene.zarr").glob("*/*/zarr.json") if path.parent.name != "c")
    folders = [folder for folder in folders if folder.parent.parent == run_dir / "scene.zarr"]
    known = {folder: json.loads((folder / "zarr.json").read_text())["attributes"]["identity"] for folder in folders}

    def read(path: Path) -> Any:
        folder = next(folder for folder in folders if path.is_relative_to(folder))
        return read_arrays(folder, known[folder])

    return Reader([path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()], read, True)


def reader_of_planes(run_dir: Path) -> Reader:
    folder, identity = run_dir / "scene.zarr" / "vertices" / "tile-a-0", {"tile": "a", "bands": [1, 2]}
    with planes_file(folder, (2, 3, 4), identity) as planes:
        planes[:, :, :] = np.arange(24, dtype="f4").reshape(2, 3, 4)

    def read(path: Path) -> Any:
        planes = read_planes(folder, identity)
        return None if planes is None else {"planes": np.array(planes)}

    return Reader(sorted(folder.iterdir()), read, False)


def reader_of_cells(run_dir: Path) -> Reader:
    def read(path: Path) -> Any:
        with suppress(OSError):  # as it says of files that are gone
            read_identity(str(path))
        source = read_source(path)
        for layer in filter(None, map(source.layer, source.layer_roles)):
            layer.by_role(slice(2, 5), slice(None))
        return {"cube": source.reflectance[2:5, :, ::100]}

    return Reader(sorted((run_dir / "cells").iterdir()), read, False)


def reader_of_maps(run_dir: Path) -> Reader:
    store = run_dir / "results.zarr"
    maps = open_maps(store, chunks=None)
    files = [path for name in maps.data_vars for path in sorted((store / str(name) / "c").rglob("*")) if path.is_file()]

    def read(path: Path) -> Any:
        name = path.relative_to(store).parts[0]
        return {name: maps[name].copy().to_numpy()}

    return Reader(files, read, False)


READERS = {
    "scene": reader_of_scenes,
    "planes": reader_of_planes,
    "cells": reader_of_cells,
    "maps": reader_of_maps,
}


@pytest.mark.parametrize("kind", READERS)
def test_mutated_scenes_cells_and_chunks_end_in_our_sentences_by_their_readers(
    kind: str, other_runs: dict[str, Path], tmp_path: Path
) -> None:
    seen = other_runs["cells" if kind == "cells" else "scene"]
    run_dir = Path(shutil.copytree(seen, tmp_path / "run"))
    files, read, has_digest = READERS[kind](run_dir)
    whole = {path: (path.read_bytes(), read(path)) for path in files}
    found, verdicts, before = list[str](), Counter[str](), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(FIRST, FIRST + CASES):
        chance = random.Random(f"{kind}{number}")
        path = chance.choice(files)
        data, expected = whole[path]
        path.write_bytes(mutated(data, chance))
        faulthandler.dump_traceback_later(TIMEOUT, exit=True)
        verdict = "refused"
        try:
            verdict = same(read(path), expected)
        except HsiDaskError as error:
            verdict = "refused" if visible(error) == str(error) and len(str(error)) < 1500 else f"LONG {error!r}"
        except Exception as error:
            verdict = f"ESCAPED {error!r:.500}"
        faulthandler.cancel_dump_traceback_later()
        verdicts[verdict.split()[0]] += 1
        if verdict.split()[0] in ("LONG", "ESCAPED") or (verdict == "other" and has_digest):
            found.append(f"{kind} {number}: {path.relative_to(run_dir)}: {verdict}")
        path.write_bytes(data)
    assert not found, "\n".join(found[:50])
    assert "refused" in verdicts or "none" in verdicts
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
    if CASES >= 1000:
        sys.stderr.write(f"{kind}: {dict(verdicts)}\n")


def same(found: Any, expected: dict[str, Any]) -> str:
    """Whether what was read is what was there."""
    if found is None:
        return "none"
    alike = found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name], equal_nan=True)
        for name in expected
    )
    return "read" if alike else "other"
