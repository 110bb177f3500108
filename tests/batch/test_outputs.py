"""What verbs write replaces neither what they read nor a run's own files; the oracle is what was there before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hsi_dask as hsi
from hsi_dask.batch.state.outputs import require_free
from hsi_dask.errors import ConfigError

PLACES = "x,y,is\n368010.5,4306010.5,endmember 1\n368030.5,4306010.5,endmember 2\n"


def files_of(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


def refused(*words: object) -> str:
    command = [sys.executable, "-m", "hsi_dask", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended
    return ended.stderr


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml", "records/x.csv", "results.zarr", "overviews.zarr/1"])
def test_nothing_is_written_over_or_into_what_a_run_keeps(done_run: Path, name: str) -> None:
    before = files_of(done_run)
    for act in (
        require_free,
        lambda out: hsi.export(done_run, out),
        lambda out: hsi.export_changes(done_run, done_run, out),
    ):
        with pytest.raises(
            (ConfigError, hsi.errors.RunError), match=r"--out .* of the run .*run, or in it|are one run"
        ):
            act(done_run / name)
    assert files_of(done_run) == before


def test_extract_and_accuracy_keep_what_they_read_and_the_run(done_run: Path, tmp_path: Path) -> None:
    places, before = tmp_path / "plots.csv", files_of(done_run)
    places.write_text(PLACES)
    (tmp_path / "link.csv").symlink_to(places)
    for out, said in ((places, "is what is read"), (tmp_path / "link.csv", "is what is read"),
                      (done_run / "manifest.json", "is manifest.json of the run")):  # fmt: skip
        assert said in refused("extract", done_run, places, "--out", out)
        assert said in refused("accuracy", done_run, places, "--column", "is", "--out", out)
    assert places.read_text() == PLACES
    assert files_of(done_run) == before


def test_other_files_beside_a_run_may_be_written(done_run: Path) -> None:
    require_free(done_run / "values.csv")
    require_free(done_run / "gis")
    require_free(done_run.parent / "manifest.json")
