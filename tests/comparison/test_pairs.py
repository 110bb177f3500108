"""Runs that cannot be compared: one sentence each, which names both."""

import json
import shutil

import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.batch.state.naming import name_endmembers
from hsi_dask.comparison.pairs import open_pair
from hsi_dask.comparison.spectra import require_same_endmembers
from hsi_dask.errors import ConfigError, EndmemberError, GridError, RunError
from hsi_dask.io.endmember_store import open_endmembers, write_endmembers


@pytest.fixture
def second(years, tmp_path):
    """A copy of the second run, to spoil."""
    return shutil.copytree(years.second, tmp_path / "second")


def edit_grid(run_dir, **changes):
    path = run_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["grid"] |= changes
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"crs": "EPSG:32617"}, r"a lies in EPSG:32618, but .*second lies in EPSG:32617"),
        ({"resolution": [2.0, 2.0]}, r"a has pixels of 1 x 1 m, but .*second has pixels of 2 x 2 m"),
        ({"west": 368000.4}, r"second is off the pixel grid of .*a by 0.00 rows and 0.40 columns"),
        ({"west": 369000.0}, r"a \(368000 to .* N in EPSG:32618\) and .*second \(369000 to .*\) do not overlap"),
    ],
)
def test_other_grids_are_refused(years, second, changes, sentence):
    edit_grid(second, **changes)
    with pytest.raises(GridError, match=sentence):
        open_pair(years.first, second)


def test_other_endmembers_are_refused(years, tmp_path):
    own = hsi.RunConfig.from_yaml(years.second / "config.yaml")
    given = {"file": None, "count": 3, "names": None}
    hsi.run(own.replace(endmembers=given), tmp_path / "three")
    sentence = r"/a and .*/three were not mapped with the same endmembers: there are 4 and 3; map the second with the"
    with pytest.raises(EndmemberError, match=sentence):
        open_pair(years.first, tmp_path / "three")


def test_other_spectra_and_names_are_refused(years):
    before, after = (open_endmembers(path) for path in (years.first, years.second))
    require_same_endmembers(before, after, ("a", "b"))
    with pytest.raises(EndmemberError, match=r"the spectra of endmember 2 are 5\.\d% apart"):
        require_same_endmembers(before, after * (1 + 0.05 * (after.endmember == 2)), ("a", "b"))
    named = [one.assign_coords(name=("endmember", names)) for one, names in ((before, [*"stuv"]), (after, [*"stux"]))]
    with pytest.raises(EndmemberError, match=r"the name of endmember 4 is 'v' and 'x'"):
        require_same_endmembers(*named, ("a", "b"))
    materials = [one.assign_coords(material=("endmember", [*"ttuv"])) for one in (before, after)]
    with pytest.raises(EndmemberError, match="only one of them has materials"):
        require_same_endmembers(materials[0], after, ("a", "b"))
    moved = after.assign_coords(wavelength=after.wavelength + 5000)
    with pytest.raises(EndmemberError, match="no wavelengths in common"):
        require_same_endmembers(before, moved, ("a", "b"))
    only_one = np.append(before.wavelength[:1], before.wavelength[1:] + 5000)
    with pytest.raises(EndmemberError, match="1 wavelengths in common, too few to tell"):
        require_same_endmembers(before, before.assign_coords(wavelength=only_one), ("a", "b"))


def test_names_that_only_one_run_has_are_taken(years, second):
    name_endmembers(second, {1: "water"})
    assert open_pair(years.first, second).endmembers["name"].values[0] == "water"
    assert hsi.compare(years.first, second)["class_name"].values[1] == "water"


def test_numbers_that_were_kept_are_compared(years, second):
    spectra = open_endmembers(second)
    write_endmembers(second / "endmembers.zarr", spectra.assign_coords(endmember=np.array([1, 2, 3, 5])))
    with pytest.raises((EndmemberError, RunError)):
        open_pair(years.first, second)


def test_runs_without_a_map_in_common_are_refused(years, tmp_path):
    own = hsi.RunConfig.from_yaml(years.second / "config.yaml")
    hsi.run(own.replace(methods=["ncc"], thresholds={"sam": None}), tmp_path / "ncc")
    with pytest.raises(RunError, match=r"share no map of fractions or classes: .*/a has abundance.* and .*ncc has ncc"):
        open_pair(years.first, tmp_path / "ncc")


def test_settings_that_look_like_change_are_told(years, tmp_path):
    own = hsi.RunConfig.from_yaml(years.second / "config.yaml")
    hsi.run(own.replace(thresholds={"sam": 0.1}), tmp_path / "strict")
    notes = open_pair(years.first, tmp_path / "strict").notes
    assert "the runs' settings differ, which may look like change: thresholds.sam: 0.1, not 0.3" in notes


def test_runs_of_other_wavelengths_are_told_though_they_have_as_many(years, tmp_path):
    own = hsi.RunConfig.from_yaml(years.second / "config.yaml")
    for name, windows in (("short", [[400, 480]]), ("long", [[800, 880]])):
        hsi.run(own.replace(bands={"windows": [*windows, [2302, 2600]], "drop_last": 10}), tmp_path / name)
    (note,) = (one for one in open_pair(tmp_path / "short", tmp_path / "long").notes if "wavelengths" in one)
    counts = [hsi.open_results(tmp_path / name).sizes["wavelength"] for name in ("short", "long")]
    assert counts[0] == counts[1]
    assert (
        note == f"the runs were mapped at {counts[0]} and {counts[0]} wavelengths, of which {counts[0] - 4} are alike"
    )


def test_a_map_that_is_a_link_or_damaged_is_named(years, second, tmp_path):
    chunk = next(path for path in (second / "results.zarr/abundance/c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20] + bytes(50))
    with pytest.raises(RunError, match=r"abundance/c/.* is damaged: it does not hold \d+ bytes"):
        hsi.export_changes(years.first, second, tmp_path / "out")
    chunk.rename(tmp_path / "chunk")
    chunk.symlink_to(tmp_path / "chunk")
    with pytest.raises(RunError, match=r"abundance/c/.* cannot be read: it is a link, and may lead anywhere"):
        hsi.export_changes(years.first, second, tmp_path / "out")


def test_what_is_no_pair_is_refused(years, tmp_path):
    with pytest.raises(RunError, match="are one run; give two"):
        open_pair(years.first, years.first)
    with pytest.raises(RunError, match="is not a run directory"):
        open_pair(years.first, tmp_path)
    with pytest.raises(ConfigError, match=r"confidence is 95; it must be between 0 and 1"):
        hsi.compare(years.first, years.second, confidence=95)
