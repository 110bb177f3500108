"""Runs with given endmembers against the public operations on the same spectra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.naming import name_endmembers
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, EndmemberError, RunError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.store import open_results
from hsi_dask.synthetic import MATERIALS, Site, material_spectra, neon_wavelengths, simulate_site

Store = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The scene's materials, 1 nm apart, in percent and micrometres."""
    nm = np.arange(350.0, 2501.0)
    spectra = material_spectra(MATERIALS, nm) * 100
    rows = [",".join(f"{v:.6g}" for v in (w / 1000, *s)) for w, s in zip(nm, spectra.T, strict=True)]
    path = tmp_path / "materials.csv"
    path.write_text("\n".join([",".join(["wavelength_um", *MATERIALS]), *rows]))
    return path


def test_a_library_maps_the_materials_it_names(site: Site, config: RunConfig, library: Path, tmp_path: Path) -> None:
    given = {"file": str(library), "names": ["Soil", "water"]}
    summary = run(config.replace(endmembers=given), tmp_path / "run")
    assert len(summary.done) == 6
    endmembers, results = open_endmembers(tmp_path / "run"), open_results(tmp_path / "run")
    assert endmembers.attrs["names"] == ["soil", "water"]
    assert endmembers.attrs["source"] == str(library)
    assert "in percent" in endmembers.attrs["units_from"]
    assert endmembers.attrs["resampled"] == "Gaussian response"
    truth = material_spectra(["soil", "water"], endmembers.wavelength.values)
    np.testing.assert_allclose(endmembers, truth, atol=0.01)
    cube = hsi.select_bands(hsi.open_neon(site.paths[5], masked=False))
    maps = hsi.map_materials(cube, endmembers, thresholds={"sam": 0.3})
    there = results.sel(y=maps.y, x=maps.x)
    np.testing.assert_array_equal(there.abundance, maps.abundance)
    assert results.sizes["endmember"] == 2
    assert RunConfig.from_yaml(tmp_path / "run/config.yaml").endmembers.count == 2


def test_an_earlier_run_s_endmembers_give_its_bytes(
    config: RunConfig, undisturbed: Path, tmp_path: Path, store_of: Store
) -> None:
    run(config.replace(endmembers={"file": str(undisturbed)}), tmp_path / "run")
    before, after = store_of(undisturbed), store_of(tmp_path / "run")
    assert {k: v for k, v in before.items() if "results" in k} == {k: v for k, v in after.items() if "results" in k}


def test_a_given_run_resumes_and_refuses_other_spectra(config: RunConfig, library: Path, tmp_path: Path) -> None:
    given = config.replace(endmembers={"file": str(library)}, tiles=config.tiles)
    run(given, tmp_path / "run")
    assert len(run(given.replace(tiles=[]), tmp_path / "run").skipped) == 6
    lines = library.read_text().splitlines()
    library.write_text("\n".join([lines[0], *(line + "1" for line in lines[1:])]))
    with pytest.raises(RunError, match=r"materials.csv holds other spectra than when the run began"):
        run(given, tmp_path / "run")


def test_the_plan_counts_given_spectra_and_samples_nothing(site: Site, library: Path) -> None:
    found = make_plan(site.paths, RunConfig())
    given = make_plan(site.paths, RunConfig(endmembers={"file": str(library)}))
    assert given.config.endmembers.count == len(MATERIALS)
    assert given.bytes_to_read < found.bytes_to_read
    assert given.memory(2) > found.memory(2)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"endmembers": {"names": ["soli"]}}, EndmemberError, "has no spectrum named 'soli'; did you mean 'soil'"),
        ({"thresholds": {"sam": [0.1, 0.2]}}, ConfigError, "thresholds.sam has 2 numbers, but .* gives 6 endmembers"),
        ({"endmembers": {"file": "/none.sli"}}, EndmemberError, "/none.sli does not exist; give a run directory"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    config: RunConfig, library: Path, tmp_path: Path, change: dict[str, object], error: type[Exception], sentence: str
) -> None:
    given = config.replace(endmembers={"file": str(library)}, thresholds={"sam": None})
    with pytest.raises(error, match=sentence):
        run(given.replace(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_library_that_ends_too_soon_names_the_wavelengths(config: RunConfig, library: Path, tmp_path: Path) -> None:
    lines = library.read_text().splitlines()
    library.write_text("\n".join(lines[:1500]))
    with pytest.raises(EndmemberError, match=r"'vegetation' covers 350.0 to 1848.0 nm, but not \d+ of the 7\d wavelen"):
        run(config.replace(endmembers={"file": str(library)}), tmp_path / "run")


def test_names_of_found_endmembers_are_materials_of_a_library(
    config: RunConfig, done_run: Path, tmp_path: Path
) -> None:
    name_endmembers(done_run, {1: "plant", 2: "plant", 3: "ground"})
    given = config.replace(thresholds={"sam": None}, methods=["cover"])
    run(given.replace(endmembers={"file": str(done_run), "material_column": "name"}), tmp_path / "cover")
    assert open_results(tmp_path / "cover").material.values.tolist() == ["ground", "plant"]
    assert open_endmembers(tmp_path / "cover").material.values.tolist() == ["plant", "plant", "ground"]


@pytest.mark.parametrize(
    ("methods", "endmembers", "error", "sentence"),
    [
        (["cover"], {}, ConfigError, "cover maps the materials of a class library; give one"),
        (["mesma"], {"file": "plain"}, EndmemberError, "mesma: the spectra have no materials, of which fractions are"),
        (["cover"], {"file": "large"}, EndmemberError, "cover: 750 spectra make 15813250 models of up to 3 materials"),
    ],
)
def test_a_method_that_needs_a_library_says_so_before_anything_is_written(
    config: RunConfig, library: Path, tmp_path: Path, methods: list[str], endmembers: dict[str, str],
    error: type[Exception], sentence: str,
) -> None:  # fmt: skip
    large = tmp_path / "large.csv"
    _, *rows = library.read_text().splitlines()
    values = [[row.split(",")[0], *row.split(",")[1:4] * 250] for row in rows[::20] + rows[-1:]]
    columns = np.array([[f"s{n}", "abc"[n % 3]] for n in range(750)]).T
    names = [["name", *columns[0]], ["material", *columns[1]]]
    large.write_text("\n".join(",".join(cells) for cells in zip(*names, *values, strict=True)))
    files = {"plain": str(library), "large": str(large)}
    given = {key: files.get(value, value) for key, value in endmembers.items()}
    changed = config.replace(thresholds={"sam": None}, methods=methods, endmembers=given | {"count": 3})
    with pytest.raises(error, match=sentence):
        run(changed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shift", [-1.9, 1.9])
def test_another_year_s_wavelengths_inherit_what_the_endmembers_run_left_out(
    config: RunConfig, undisturbed: Path, tmp_path: Path, shift: float
) -> None:
    """The grid of the fixtures has a wavelength every 20 nm; the other year's windows are narrower."""
    own = neon_wavelengths(100, step=20.0) + shift
    other = simulate_site(tmp_path / "tiles", tiles=(1, 2), size=40, wavelength=own, no_data=0)
    for path in other.paths:
        with h5py.File(path, "r+") as file:
            file["SERC/Reflectance"].attrs["Band_Window_1_Nanometers"] = np.array([1365, 1420], "i4")
    given = config.replace(tiles=[str(other.folder)], endmembers={"file": str(undisturbed)})
    plan = make_plan(other.paths, given)
    before, spectra = open_endmembers(undisturbed), plan.spectra
    assert spectra is not None
    there = spectra.wavelength.values
    assert before.wavelength.values[0] <= there[0]
    assert there[-1] <= before.wavelength.values[-1]
    assert not ((there > 1340) & (there < 1445)).any()
    assert any("know nothing of" in note for note in plan.notes)
    summary = run(given, tmp_path / "run")
    assert len(summary.done) == 2
    assert len(run(given, tmp_path / "run").skipped) == 2
    stated = {"windows": [(1340, 1445), (1790, 1955), (300, 420)], "drop_last": 11}
    loose = make_plan(other.paths, given.replace(bands=stated))
    assert not loose.notes


def test_the_last_bands_are_left_out_as_in_the_endmembers_run_unless_said(
    config: RunConfig, site: Site, tmp_path: Path
) -> None:
    run(config.replace(bands={"drop_last": 3}), tmp_path / "before")
    for file in (tmp_path / "before", tmp_path / "before" / "endmembers.zarr"):
        given = config.replace(endmembers={"file": str(file)})
        plan = make_plan(site.paths, given)
        assert plan.config.bands.drop_last == 3
        assert plan.config.bands.windows is None, "a number, not a window"
        assert any(note.startswith("without the last 3 wavelengths, as in") for note in plan.notes)
        assert plan.spectra is not None
        np.testing.assert_array_equal(plan.spectra.wavelength, open_endmembers(tmp_path / "before").wavelength)
    said = make_plan(site.paths, given.replace(bands={"drop_last": 10}))
    assert said.config.bands.drop_last == 10
    run(given, tmp_path / "run")
    assert len(run(given, tmp_path / "run").skipped) == 6
    (tmp_path / "before" / "config.yaml").write_text("bands: {drop_last: many}")
    assert make_plan(site.paths, given).config.bands.drop_last == 10
