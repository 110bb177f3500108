"""Class maps by other thresholds against `threshold_classes` of the scores, and agreement against counting pixels."""

import json

import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.errors import ConfigError
from hsi_dask.io import levels
from hsi_dask.overviews.agreement import agreement_of
from hsi_dask.overviews.overviews import kept_overviews, open_overviews

LIMITS = (0.05, None, 0.2)


@pytest.fixture
def small_levels(monkeypatch):
    """Levels and chunks that suit a mosaic of 80 x 120 pixels."""
    monkeypatch.setattr(levels, "ENOUGH", 10)
    monkeypatch.setattr(levels, "_CHUNK", 20)


def expected(run_dir):
    scores = hsi.open_results(run_dir).sam_angle.load()
    return hsi.threshold_classes(scores, [np.pi / 2 if limit is None else limit for limit in LIMITS]).values


def test_saved_classes_are_those_of_the_thresholds_at_every_level(done_run, small_levels):
    open_overviews(done_run).keep_classes("sam_class", "strict", LIMITS)
    overviews = open_overviews(done_run)
    assert [v.name for v in overviews.variables][-2:] == ["strict", "quality"]
    values = overviews.at(1000).strict.values
    np.testing.assert_array_equal(values, expected(done_run))
    found = {int(value): count for value, count in overviews.statistics["strict"][0].values.items()}
    assert found == {int(v): int((values == v).sum()) for v in np.unique(values) if v != 255}
    for size in (60, 30, 15, 8):
        level = overviews.at(size).strict
        assert level.shape == overviews.at(size).sam_class.shape
        assert level.attrs["flag_meanings"].split() == ["unclassified", "endmember_1", "endmember_2", "endmember_3"]
        assert set(np.unique(level)) <= {*np.unique(values), 255}
    assert "strict" not in hsi.open_results(done_run)  # the run itself is as it was


def test_saved_classes_are_made_anew_when_other_tiles_are_done(done_run, small_levels):
    record = done_run / "records" / f"{Run.open(done_run).done()[0]}.json"
    moved = record.rename(done_run / "aside.json")
    open_overviews(done_run).keep_classes("sam_class", "strict", LIMITS)
    fewer = (open_overviews(done_run).at(1000).strict.values != 255).sum()
    moved.rename(record)
    np.testing.assert_array_equal(open_overviews(done_run).at(1000).strict.values, expected(done_run))
    assert fewer < (expected(done_run) != 255).sum()


def test_a_large_fraction_is_asked_for_as_a_small_angle_is(done_run):
    abundance = hsi.open_results(done_run).abundance.load()
    limits = (0.9, 0.5, 0.7)
    with kept_overviews(done_run, thresholds={"abundance_class": limits}) as overviews:
        found = overviews.at(1000).abundance_class.load().values
    np.testing.assert_array_equal(found, hsi.threshold_classes(abundance, limits).values)


def test_thresholds_that_are_only_looked_at_leave_nothing_behind(done_run):
    open_overviews(done_run)
    before = sorted(p for p in done_run.rglob("*"))
    with kept_overviews(done_run, thresholds={"sam_class": LIMITS}) as overviews:
        np.testing.assert_array_equal(overviews.at(1000).sam_class.values, expected(done_run))
        path, _ = overviews.source("sam_class")
        assert path.is_dir()
    assert not path.exists()
    assert sorted(p for p in done_run.rglob("*")) == before


@pytest.mark.parametrize(
    ("like", "name", "words"),
    [
        ("sam_angle", "mine", "sam_angle is no class map of .*; there are abundance_class, sam_class, sid_class"),
        ("sam_class", "residual", "has a map residual already"),
        ("sam_class", "../mine", "a class map cannot be called '../mine'"),
        ("sam_class", "1st", "no digit first"),
    ],
)
def test_classes_that_cannot_be_saved_are_refused(done_run, like, name, words):
    with pytest.raises(ConfigError, match=words):
        open_overviews(done_run).keep_classes(like, name, LIMITS)
    assert not list(done_run.glob("classes/*"))


def test_what_is_no_class_map_among_the_saved_ones_is_left_alone(done_run, tmp_path):
    overviews = open_overviews(done_run)
    overviews.keep_classes("sam_class", "strict", LIMITS)
    folder = done_run / "classes"
    (folder / "broken.zarr").mkdir()
    (folder / "foreign.zarr").mkdir()
    attrs = {"like": "quality", "thresholds": [1], "records": overviews.identity}
    (folder / "foreign.zarr" / "zarr.json").write_text(json.dumps({"attributes": attrs}))
    (folder / "linked.zarr").symlink_to(folder / "strict.zarr")
    names = {variable.name for variable in open_overviews(done_run).variables}
    assert "strict" in names
    assert not names & {"broken", "foreign", "linked"}


def test_agreement_is_that_of_all_pixels(done_run):
    maps = hsi.open_results(done_run).load()
    overviews = open_overviews(done_run)
    assert set(overviews.agreements) == {
        ("abundance_class", "sam_class"), ("abundance_class", "sid_class"), ("sam_class", "sid_class"),
    }  # fmt: skip
    for (one, other), found in overviews.agreements.items():
        a, b = maps[one].values, maps[other].values
        known = (a != 255) & (b != 255)
        both = known & (a > 0) & (b > 0)
        assert (found.pixels, found.classified) == (known.sum(), both.sum())
        assert found.same == pytest.approx((a == b)[both].mean())
    overviews.keep_classes("sam_class", "strict", LIMITS)
    found = open_overviews(done_run).agreements["sam_class", "strict"]
    assert found.same == 1.0 or found.classified < (maps.sam_class.values != 255).sum()


def test_kappa_is_cohens():
    """The example of Cohen (1960), table 1, as shares of 200."""
    table = {"1,1": 88, "1,2": 14, "1,3": 18, "2,1": 10, "2,2": 40, "2,3": 10, "3,1": 2, "3,2": 6, "3,3": 12}
    found = agreement_of(table)
    assert found.same == pytest.approx(0.70)
    assert found.kappa == pytest.approx(0.492, abs=5e-4)
    assert np.isnan(agreement_of({"0,1": 3}).kappa)
    assert agreement_of({"2,2": 5}).kappa == 1.0
