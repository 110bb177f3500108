"""Accuracy of class maps against counts by hand, and areas against the simulated truth."""

import csv
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.state.naming import name_endmembers
from hsi_dask.cli import main
from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.kernels.accuracy import area_adjusted
from hsi_dask.ops.accuracy import assess
from hsi_dask.show.assessments import keep_accuracy
from hsi_dask.synthetic import material_spectra, neon_wavelengths, simulate_site

MATERIALS = ("vegetation", "soil", "water")
GRID = neon_wavelengths(60, step=35.0)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accuracy")
    return simulate_site(folder / "tiles", tiles=(1, 2), size=80, wavelength=GRID, materials=MATERIALS, no_data=0.05)


@pytest.fixture(scope="module")
def run_dir(site):
    """Endmembers are named after what they are."""
    path = site.folder.parent / "run"
    hsi.run(hsi.RunConfig(tiles=[str(site.folder)], endmembers={"count": 3}, thresholds={"sam": 0.15}), path)
    truth = hsi.synthetic.compare_with_truth(open_endmembers(path), hsi.open_results(path, chunks=None), site.scene)
    name_endmembers(path, dict(zip(truth.found.tolist(), MATERIALS, strict=True)))
    return path


@pytest.fixture(scope="module")
def plots(site):
    """What is really there at random pixels, and one plot outside."""
    random, scene = np.random.default_rng(2), site.scene
    rows, columns = random.integers(0, 80, 150), random.integers(0, 160, 150)
    there = np.array(MATERIALS)[scene.abundance.argmax(axis=0)[rows, columns]]
    table = pd.DataFrame({"x": scene.x[columns], "y": scene.y[rows], "cover": there})
    return pd.concat([table, pd.DataFrame({"x": [0.0], "y": [0.0], "cover": ["soil"]})], ignore_index=True)


@pytest.fixture(scope="module")
def found(run_dir, plots):
    return hsi.accuracy(run_dir, plots, "cover")


def test_counts_are_those_of_pixels_and_plots(run_dir, plots, found):
    maps = hsi.open_results(run_dir, chunks=None)
    names = {0: "unclassified"} | dict(zip(maps.endmember.to_numpy().tolist(), maps["name"].to_numpy(), strict=True))
    counted: dict[tuple[str, str], int] = {}
    for row in plots.to_dict("records")[:-1]:
        value = int(maps.sam_class.sel(x=row["x"], y=row["y"]))
        if value != 255:
            pair = names[value], row["cover"]
            counted[pair] = counted.get(pair, 0) + 1
    for a in found.map_class.to_numpy():
        for b in found.reference_class.to_numpy():
            assert int(found.counts.sel(map_class=a, reference_class=b)) == counted.get((a, b), 0)
    assert found.attrs["variable"] == "sam_class"
    left = len(plots) - sum(counted.values())
    assert f"{left} of {len(plots)} places left out: outside, without data, or without cover" in found.attrs["notes"]


def test_estimates_are_those_of_the_kernel_with_the_areas_of_the_map(run_dir, found):
    maps = hsi.open_results(run_dir, chunks=None)
    numbers = [*maps.endmember.to_numpy().tolist(), 0]
    pixels = np.array([(maps.sam_class == number).sum() for number in numbers])
    np.testing.assert_allclose(found.map_hectares, pixels * 1e-4)
    expected = area_adjusted(found.counts.to_numpy(), pixels)
    assert float(found.overall_accuracy) == pytest.approx(expected.overall)
    assert float(found.overall_accuracy_margin) == pytest.approx(1.959964 * expected.overall_error, rel=1e-6)
    sampled = pixels[found.counts.sum("reference_class").to_numpy() > 0].sum()
    np.testing.assert_allclose(found.hectares, expected.area * sampled * 1e-4)
    np.testing.assert_allclose(found.producers_accuracy_margin, 1.959964 * expected.producers_error, rtol=1e-6)


def test_areas_hold_the_truth_within_their_margins(site, found):
    scene = site.scene
    dominant = np.where(scene.no_data, -1, scene.abundance.argmax(axis=0))
    for number, name in enumerate(MATERIALS):
        own = found.sel(reference_class=name)
        assert abs(float(own.hectares) - (dominant == number).sum() * 1e-4) < 1.5 * float(own.hectares_margin) + 0.005


def test_values_may_stand_for_classes(run_dir, plots, found):
    species = plots.assign(cover=plots["cover"].map({"vegetation": "Oak ", "soil": "SOIL", "water": "lake"}))
    told = hsi.accuracy(run_dir, species, "cover", classes={"oak": "vegetation", "lake": "Water"})
    xr.testing.assert_equal(told, found)
    by_number = {name: number for number, name in enumerate(hsi.open_results(run_dir)["name"].to_numpy(), 1)}
    numbers = plots.assign(cover=plots["cover"].map(by_number).astype(float))
    xr.testing.assert_equal(hsi.accuracy(run_dir, numbers, "cover", variable="sam"), found)


def test_spectra_of_a_material_are_one_class(site, plots, found):
    """A library with two spectra of each material, by SAM."""
    nm = np.arange(350.0, 2600.0)
    rows = ["name,class," + ",".join(f"{w:.0f}" for w in nm)]
    for name, spectrum in zip(MATERIALS, material_spectra(MATERIALS, nm), strict=True):
        for number in (1, 2):
            values = spectrum * (1 + 0.05 * number * (nm - 1500) / 1000)
            rows.append(f"{name}_{number},{name}," + ",".join(f"{v:.5f}" for v in values))
    (site.folder.parent / "library.csv").write_text("\n".join(rows))
    settings = {"methods": ["sam"], "endmembers": {"file": str(site.folder.parent / "library.csv")}}
    hsi.run(hsi.RunConfig(tiles=[str(site.folder)], **settings), site.folder.parent / "six")
    told = hsi.accuracy(site.folder.parent / "six", plots, "cover")
    assert sorted(told.map_class.to_numpy()) == sorted([*MATERIALS, "unclassified"])
    assert int(told.counts.sum()) == int(found.counts.sum())
    assert float(told.sample_accuracy) > 0.8


def test_a_class_without_a_sample_is_told(run_dir, plots):
    told = hsi.accuracy(run_dir, plots[plots["cover"] == "water"].iloc[:6], "cover")
    assert any(re.search(r"no sample in what is mapped as .* of the area\)", n) for n in told.attrs["notes"])


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({}, {"column": "species"}, "the places have no column 'species' but 'x', 'y', 'cover'"),
        ({"cover": "maple"}, {}, "no classes of sam_class are 'maple'; it has .*water.*; say which they are"),
        ({"cover": None}, {}, "none of the 151 places has a value in 'cover' and a class in sam_class"),
        ({"x": 0.0}, {}, "none of the 151 places has a value"),
        ({}, {"confidence": 1.5}, "confidence is 1.5; it must be between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(run_dir, plots, changes, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        hsi.accuracy(run_dir, plots.assign(**changes), **{"column": "cover"} | options)


def test_other_class_maps_and_matrices_are_refused(run_dir, plots):
    with pytest.raises(SchemaError, match="no class map ncc but"):
        hsi.accuracy(run_dir, plots, "cover", variable="ncc")
    counts = xr.DataArray(np.ones((2, 2), int), {"map_class": ["a", "b"], "reference_class": ["b", "a"]},
                          ("map_class", "reference_class"))  # fmt: skip
    with pytest.raises(SchemaError, match="must be the same classes in the same order"):
        assess(counts, xr.DataArray([1.0, 1.0], dims="map_class"))


def test_the_verb_prints_the_matrix_and_writes_it(run_dir, plots, found, tmp_path, capsys):
    plots.to_csv(tmp_path / "plots.csv", index=False)
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "accuracy",
                str(run_dir),
                str(tmp_path / "plots.csv"),
                "--column",
                "cover",
                "--out",
                str(tmp_path / "a.csv"),
            ]
        )
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    assert re.search(r"^mapped as \\ is( +\w+){4}\n", shown.out, re.MULTILINE)
    overall, margin = 100 * float(found.overall_accuracy), 100 * float(found.overall_accuracy_margin)
    assert f"overall accuracy {overall:.1f}% ± {margin:.1f}; of the {found.attrs['samples']} samples" in shown.out
    assert "note: " in shown.err
    with open(tmp_path / "a.csv", newline="") as stream:
        rows = {row["mapped_as"]: row for row in csv.DictReader(stream)}
    soil = found.sel(map_class="soil", reference_class="soil")
    assert int(rows["soil"]["is_soil"]) == int(soil.counts)
    assert float(rows["soil"]["producers_accuracy"]) == pytest.approx(float(soil.producers_accuracy))
    assert float(rows["all"]["overall_accuracy"]) == pytest.approx(float(found.overall_accuracy))
    with pytest.raises(SystemExit) as ended:
        main(["accuracy", str(run_dir), str(tmp_path / "plots.csv"), "--column", "cover", "--class", "oak"])
    assert (ended.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


def told(page):
    """The rows of the section on accuracy, without markup."""
    section = re.search(r'<section id="accuracy">(.*?)</section>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", section[1], re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row)] for row in rows]


def test_what_the_verb_finds_is_kept_and_shown_by_the_report_of_a_moved_run(run_dir, plots, found, tmp_path, capsys):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    plots.to_csv(tmp_path / "plots.csv", index=False)
    for column in ("cover", "cover"):  # the second replaces the first
        with pytest.raises(SystemExit) as end:
            main(["accuracy", str(copy), str(tmp_path / "plots.csv"), "--column", column])
        assert end.value.code == 0
    assert "accuracy.json" in capsys.readouterr().err
    page = hsi.report(copy.rename(tmp_path / "moved")).read_text(encoding="utf-8")
    assert page.count("overall accuracy") == 1
    overall, margin = float(found.overall_accuracy), float(found.overall_accuracy_margin)
    assert f"sam_class: overall accuracy {overall:.1%} ± {100 * margin:.1f}" in page
    assert "plots.csv, column cover" in page
    rows = {row[0]: row[1:] for row in told(page) if len(row) > 4 and row[1].isdigit()}
    names = [str(name) for name in found.map_class.to_numpy() if name != "unclassified"]
    for name in names:
        assert rows[name][:-1] == [str(int(found.counts.sel(map_class=name, reference_class=is_))) for is_ in names]
    users = {row[0]: row[1] for row in told(page) if row and "%" in row[1]}
    first = found.sel(map_class=names[0])
    assert users[names[0]] == f"{float(first.users_accuracy):.1%} ± {100 * float(first.users_accuracy_margin):.1f}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda one: one.update(counts=[[1, 2]]),
        lambda one: one.update(counts=[[-1] * len(one["classes"])] * len(one["classes"])),
        lambda one: one.update(confidence=2.0),
        lambda one: one.update(variable="../x"),
        lambda one: one.update(hectares=[0.0] * len(one["classes"])),
        lambda one: one.update(code="import os"),
    ],
)
def test_an_assessment_that_does_not_fit_is_not_shown(run_dir, plots, found, tmp_path, damage):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    path = keep_accuracy(copy, found, "plots.csv")
    values = json.loads(path.read_text())
    damage(values["assessments"][0])
    path.write_text(json.dumps(values))
    assert "overall accuracy" not in hsi.report(copy).read_text(encoding="utf-8")


def test_names_in_an_assessment_are_text(run_dir, plots, found, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    path = keep_accuracy(copy, found, "plots.csv")
    path.write_text(path.read_text().replace('"cover"', '"<b>cover</b>"'))
    page = hsi.report(copy).read_text(encoding="utf-8")
    assert "column &lt;b&gt;cover&lt;/b&gt;" in page
