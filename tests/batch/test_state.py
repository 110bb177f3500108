"""A run's state is files: what makes a run, what is trusted, and what is refused with the differences named."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.opening import open_run_directory
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.config import RunConfig
from hsi_dask.errors import EndmemberError, RunError
from hsi_dask.synthetic import Site

Spawn = Callable[[str], "subprocess.Popen[str]"]


def test_a_run_directory_holds_what_the_contract_says(undisturbed: Path, site: Site) -> None:
    names = {path.name for path in undisturbed.iterdir()}
    expected = {"config.yaml", "manifest.json", "endmembers.zarr", "results.zarr", "records", "failures", "lock"}
    assert names == expected
    state = Run.open(undisturbed)
    assert len(state.done()) == len(site.paths) == 6
    assert not state.pending()
    assert not state.failed()
    assert state.config.tiles == (str(site.folder),)
    record = state.record(state.done()[0])
    assert record is not None
    assert sum(record.pixels.values()) == 1600
    assert record.versions["hsi-dask"]


def test_a_record_of_other_settings_or_inputs_is_not_trusted(done_run: Path, site: Site) -> None:
    state = Run.open(done_run)
    first, second, third, *rest = sorted(state.done())
    for tile, change in ((first, {"fingerprint": "0"}), (second, {"mtime_ns": 1}), (third, {"endmembers": "0"})):
        path = done_run / "records" / f"{tile}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (done_run / "records" / f"{rest[0]}.json").write_text('{"tile": ')
    assert state.done() == rest[1:]
    assert set(state.pending()) == {first, second, third, rest[0]}


def test_records_stay_trusted_when_the_inputs_are_moved_away(own_site: Path, config: RunConfig, tmp_path: Path) -> None:
    own = config.replace(tiles=[str(next(own_site.glob("*368000_4306000*")))])
    run(own, tmp_path / "run")
    own_site.rename(tmp_path / "archive")
    assert Run.open(tmp_path / "run").done() == ["368000_4306000"]


def test_a_run_of_a_release_that_made_other_maps_is_not_gone_on_with(done_run: Path, config: RunConfig) -> None:
    manifest = done_run / "manifest.json"
    told = json.loads(manifest.read_text())
    told["variables"] = [variable for variable in told["variables"] if variable["name"] != "abundance_class"]
    manifest.write_text(json.dumps(told))
    with pytest.raises(RunError, match=r"something else: maps: .*abundance_class.*, not .*give another --out folder"):
        run(config, done_run)


def test_other_settings_are_refused_with_the_differences(done_run: Path, config: RunConfig) -> None:
    with pytest.raises(RunError, match=r"endmembers.count: 5, not 3.*give another --out folder"):
        run(config.replace(endmembers={"count": 5}), done_run)


def test_changed_inputs_are_refused_by_name(own_site: Path, config: RunConfig, tmp_path: Path) -> None:
    own = config.replace(tiles=[str(own_site)])
    run(own, tmp_path / "run")
    os.utime(next(own_site.glob("*368040_4306000*")), (1, 1))
    with pytest.raises(RunError, match=r"tile 368040_4306000 \(.*\) has another time of change"):
        run(own, tmp_path / "run")


def test_files_that_were_copied_again_are_checked_by_their_maps(
    own_site: Path, config: RunConfig, tmp_path: Path, undisturbed: Path, store_of: Callable[[Path], dict[str, bytes]]
) -> None:
    own, first = config.replace(tiles=[str(own_site)]), next(own_site.glob("*368040_4306000*"))
    run(own, tmp_path / "run")
    os.utime(first, (1, 1))
    summary = run(own, tmp_path / "run", same_content=True)
    assert (summary.done, len(summary.skipped), summary.failed) == (("368040_4306000",), 5, {})
    assert store_of(tmp_path / "run") == store_of(undisturbed)
    assert len(run(own, tmp_path / "run").skipped) == 6
    size, former, times = first.stat().st_size, first.read_bytes(), first.stat()
    with h5py.File(first, "r+") as file:
        numbers = file["SERC/Reflectance/Reflectance_Data"]
        chunk = numbers.iter_chunks().__next__()
        numbers[chunk] = numbers[chunk][::-1]
    with open(first, "ab") as file:  # deflate packs other numbers otherwise
        file.truncate(size)
    summary = run(own, tmp_path / "run", same_content=True)
    assert list(summary.failed) == ["368040_4306000"]
    assert "gives other maps than before its time changed" in summary.failed["368040_4306000"]
    assert len(summary.skipped) == 5
    first.write_bytes(former)  # the maps are those of the other file: not even its own time makes them this one's
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "368040_4306000" not in Run.open(tmp_path / "run").done()
    summary = run(own, tmp_path / "run", same_content=True)
    assert (summary.done, summary.failed) == (("368040_4306000",), {})
    assert store_of(tmp_path / "run") == store_of(undisturbed)


def test_new_and_missing_tiles_are_refused_by_name(own_site: Path, config: RunConfig, tmp_path: Path) -> None:
    last = next(own_site.glob("*368080_4306040*"))
    own = config.replace(tiles=[str(own_site)])
    last.rename(tmp_path / last.name)
    run(own, tmp_path / "run")
    with pytest.raises(RunError, match=r"tile 368080_4306040 \(.*\) is new"):
        run(own.replace(tiles=[str(own_site), str(tmp_path / last.name)]), tmp_path / "run")
    next(own_site.glob("*368000_4306000*")).unlink()
    with pytest.raises(RunError, match=r"tile 368000_4306000 \(.*\) is missing"):
        run(own, tmp_path / "run")


def test_a_folder_with_other_things_is_refused_and_left_alone(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(RunError, match=r"holds other things \(thesis.docx\)"):
        run(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_file_in_the_place_of_the_folder_is_refused(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunError, match="run is a file; give a folder"):
        run(config, tmp_path / "run")


def test_a_folder_that_cannot_be_written_is_refused(config: RunConfig) -> None:
    with pytest.raises(RunError, match=r"/proc/run cannot be written \(.*\); choose another"):
        run(config, "/proc/run")


def test_what_is_no_run_or_that_of_another_version_is_one_sentence(done_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere does not exist"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match="is not a run directory"):
        Run.open(done_run / "records")
    manifest = done_run / "manifest.json"
    values = json.loads(manifest.read_text())
    for number, version, way_out in ((99, "a newer", "update hsi_dask"), (1, "an older", "a new run directory")):
        manifest.write_text(json.dumps(values | {"format": number}))
        with pytest.raises(RunError, match=rf"{version} hsi_dask \(format {number}, not 3\); .*{way_out}"):
            Run.open(done_run)
    manifest.write_text("{")
    with pytest.raises(RunError, match=r"manifest.json is damaged"):
        Run.open(done_run)


def test_a_creation_that_was_killed_is_taken_over(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "run/records").mkdir(parents=True)
    (tmp_path / "run/config.yaml").write_text("endmembers: {count: 3}\n")
    (tmp_path / "run/.manifest.json.12345678.part").write_text("{")
    with open_run_directory(tmp_path / "run", make_plan([*_paths(config)], config)) as (state, _):
        assert len(state.pending()) == 6
    assert not list((tmp_path / "run").glob(".*.part"))


def test_a_second_run_is_refused_and_told_who_holds_it(config: RunConfig, tmp_path: Path, spawn: Spawn) -> None:
    code = f"""
        from hsi_dask.batch.tiles.planning import make_plan
        from hsi_dask.batch.tiles.search import find_tiles
        from hsi_dask.batch.state.opening import open_run_directory
        from hsi_dask.config import RunConfig
        config = RunConfig(**{config.model_dump()!r})
        with open_run_directory({str(tmp_path / "run")!r}, make_plan(find_tiles(config.tiles), config)):
            print("taken", flush=True)
            input()
    """
    holder = spawn(code)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    with pytest.raises(RunError, match=rf"is in use by process {holder.pid} on .* since 20"):
        run(config, tmp_path / "run")
    holder.kill()
    holder.communicate()
    with open_run_directory(tmp_path / "run", make_plan(_paths(config), config)) as (state, _):
        assert len(state.pending()) == 6


def _paths(config: RunConfig) -> list[Path]:
    return sorted(Path(config.tiles[0]).glob("*.h5"))


def test_a_run_that_found_no_endmembers_makes_way_for_other_settings(
    config: RunConfig, own_site: Path, tmp_path: Path
) -> None:
    asked = config.replace(tiles=[str(own_site)], endmembers={"count": 90})
    with pytest.raises(EndmemberError):
        run(asked, tmp_path / "run")
    assert not run(asked.replace(endmembers={"count": 3}), tmp_path / "run").failed
    with pytest.raises(RunError, match="something else"):
        run(asked, tmp_path / "run")
