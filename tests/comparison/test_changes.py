"""Change between two runs against the arrays of both, and against a simulated change that is known."""

import shutil
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.comparison.changes import changes_of
from hsi_dask.comparison.pairs import open_pair
from hsi_dask.comparison.stored import store_changes
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.show.change_tables import areas_of

Z = 1.959964  # of 95 %


@pytest.fixture(scope="module")
def change(years):
    return hsi.compare(years.first, years.second)


@pytest.fixture(scope="module")
def maps(years):
    """Both years in memory."""
    return tuple(hsi.open_results(path, chunks=None).load() for path in (years.first, years.second))


def test_nothing_is_computed_before_it_is_asked_for(years):
    def refuse(*args, **kwargs):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        found = hsi.compare(years.first, years.second)
    assert all(dask.is_dask_collection(found[name].data) for name in found)
    assert str(found.rio.crs) == "EPSG:32618"


def test_differences_are_those_of_the_maps(change, maps):
    before, after = maps
    for name in ("abundance", "shade"):
        expected = after[name].values - before[name].values
        np.testing.assert_array_equal(change[f"{name}_change"], expected)
    std = np.hypot(before.abundance_std.values, after.abundance_std.values)
    np.testing.assert_array_equal(change.abundance_change_std, std)
    difference = change.abundance_change.values
    known = np.isfinite(difference) & np.isfinite(std)
    with np.errstate(invalid="ignore"):
        expected = np.where(np.abs(difference) > np.float32(Z) * std, np.where(difference > 0, 2, 1), 0)
    clear = known & (np.abs(np.abs(difference) - Z * std) > 1e-6)
    np.testing.assert_array_equal(change.abundance_significant.values[clear], expected[clear])
    assert (change.abundance_significant.values[~known] == 255).all()


def test_areas_are_sums_over_pixels_with_data_in_both(change, maps):
    before, after = (one.abundance.astype(float) for one in maps)
    difference = after - before
    both = difference.notnull()
    by = {
        "before": before.where(both), "after": after.where(both), "gained": difference.clip(0),
        "lost": (-difference).clip(0), "net": difference,
    }  # fmt: skip
    for quantity, values in by.items():
        expected = values.sum(("y", "x")) * 1e-4  # pixels of 1 m
        found = change.abundance_hectares.sel(quantity=quantity)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    std = change.abundance_change_std.where(both.values).sum(("y", "x"), dtype=float) * 1e-4
    np.testing.assert_allclose(change.abundance_net_std, std, rtol=1e-5)


def test_transitions_count_pixels_and_hectares(change, maps):
    before, after = maps
    table = change.sam_class_transitions.compute()
    for a in table.class_a.values:
        for b in table.class_b.values:
            counted = ((before.sam_class == a) & (after.sam_class == b)).sum()
            assert table.sel(class_a=a, class_b=b) == counted
    assert table.sum() == ((before.sam_class != 255) & (after.sam_class != 255)).sum()
    np.testing.assert_allclose(change.sam_class_transition_hectares, table * 1e-4)
    areas = change.sam_class_hectares.compute()
    one = areas.sel({"class": 3})
    assert float(one.sel(quantity="before")) == pytest.approx(float(table.sel(class_a=3).sum()) * 1e-4)
    stayed = float(table.sel(class_a=3, class_b=3))
    assert float(one.sel(quantity="gained")) == pytest.approx((float(table.sel(class_b=3).sum()) - stayed) * 1e-4)
    net = areas.sel(quantity="gained") - areas.sel(quantity="lost")
    np.testing.assert_allclose(areas.sel(quantity="net"), net, atol=1e-12)
    became = change.sam_class_change.values
    assert ((became == 3) == ((after.sam_class == 3) & ~before.sam_class.isin([3, 255])).values).all()


def test_class_maps_tell_the_clearing(years, change):
    """The clearing is 5.9 % of the site; materials are told apart within 1 % of it."""
    truth = hsi.synthetic.compare_with_truth(
        open_endmembers(years.first), hsi.open_results(years.first, chunks=None), years.before
    )
    vegetation, soil = truth.found[:2]
    cleared = (years.before.abundance.argmax(axis=0) == 0) & years.after.cleared & ~years.before.no_data
    table = change.sam_class_transitions.compute()
    found = int(table.sel(class_a=vegetation, class_b=soil))
    assert found == pytest.approx(cleared.sum(), rel=0.05)
    others = int(table.sum() - np.trace(table)) - found
    assert others < 0.01 * int(table.sum())


def test_a_known_change_is_found_within_its_stated_error(covered):
    change = hsi.compare(covered.first, covered.second).compute()
    truth = covered.after.abundance - covered.before.abundance
    for n, name in enumerate(covered.before.names[:2]):  # vegetation, soil
        own = change.sel(material=name)
        error = own.fraction_change.values - truth[n]
        known = np.isfinite(error)
        inside = np.abs(error[known]) <= Z * own.fraction_change_std.values[known]
        assert 0.92 < inside.mean() < 0.99
        flags, moved = own.fraction_significant.values, np.abs(truth[n]) > 0.1
        assert (flags[known & moved] == (1 if n == 0 else 2)).mean() > 0.99
        assert (flags[known & (truth[n] == 0)] > 0).mean() < 0.06
        net = float(own.fraction_hectares.sel(quantity="net"))
        assert abs(net - truth[n][known].sum() * 1e-4) < float(own.fraction_net_std)


def test_extents_that_differ_leave_what_both_have(years, tmp_path):
    """The second run once more, of its two northern tiles."""
    tiles = sorted((years.first.parent / "2022").glob("*_4306080_*"))
    settings = hsi.RunConfig.from_yaml(years.second / "config.yaml")
    hsi.run(settings.replace(tiles=[str(path) for path in tiles]), tmp_path / "north")
    whole, north = hsi.compare(years.first, years.second), hsi.compare(years.first, tmp_path / "north")
    assert north.sizes["y"] == 80
    assert "the extents differ: compared are the 80 x 160 pixels (y, x) of both" in north.attrs["notes"]
    xr.testing.assert_equal(north.sam_class_change.load(), whole.sam_class_change.isel(y=slice(0, 80)).load())
    turned = hsi.compare(tmp_path / "north", years.first)
    np.testing.assert_array_equal(turned.sam_class_transitions.T, north.sam_class_transitions)


def test_chunks_that_do_not_fit_change_nothing(years, tmp_path):
    """One run is of tiles of 40 pixels; the tables do not depend on where blocks end."""
    scene, folder = years.after, tmp_path / "small"
    for tile in scene.tiles(40):
        hsi.synthetic.write_neon_tile(folder, tile, chunks=(0, 0, 1))
    settings = hsi.RunConfig.from_yaml(years.second / "config.yaml")
    hsi.run(settings.replace(tiles=[str(folder)]), tmp_path / "b")
    found, expected = hsi.compare(years.first, tmp_path / "b"), hsi.compare(years.first, years.second)
    np.testing.assert_array_equal(found.sam_class_transitions, expected.sam_class_transitions)
    np.testing.assert_allclose(found.abundance_hectares, expected.abundance_hectares, rtol=1e-6, atol=1e-7)


def test_what_differs_is_told(years):
    assert open_pair(years.first, years.second).notes == (
        "the runs were mapped at 83 and 80 wavelengths, of which 80 are alike",
    )


def test_tiles_that_are_not_done_have_no_data_whatever_was_written(years, tmp_path):
    """A run killed between the chunks of a tile and its record."""
    second = Path(shutil.copytree(years.second, tmp_path / "b"))
    (second / "records" / "368080_4306000.json").unlink()
    found = hsi.compare(years.first, second)
    assert any("b is not complete: 1 of its tiles have no data" in note for note in found.attrs["notes"])
    whole = hsi.compare(years.first, years.second).load()
    for name, none in (("sam_class_change", -1), ("abundance_significant", 255)):
        expected = whole[name].copy()
        expected[..., 80:, 80:] = none
        np.testing.assert_array_equal(found[name], expected)
    assert int(found.sam_class_transitions.sum()) == int((found.sam_class_change != -1).sum())


def test_changes_are_drawn_by_what_they_are(change):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    figure = change.hsi.plot_map("abundance_change")
    images = [image for ax in figure.axes for image in ax.images]
    assert {(image.get_cmap().name, *image.get_clim()) for image in images} == {("coolwarm_r", -1.0, 1.0)}
    plt.close("all")


def test_changes_are_kept_as_files(change, tmp_path):
    pytest.importorskip("h5netcdf")
    change.to_netcdf(tmp_path / "change.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "change.nc", engine="h5netcdf", decode_coords="all", mask_and_scale=False) as back:
        np.testing.assert_array_equal(back.sam_class_change, change.sam_class_change)
        np.testing.assert_array_equal(back.sam_class_transitions, change.sam_class_transitions)
        assert str(back.rio.crs) == "EPSG:32618"
    assert change.sam_class_change.rio.nodata == -1


def test_a_fraction_without_planes_has_one_area(years, tmp_path):
    """Shade as if it were the fraction of a material."""
    pair = open_pair(years.first, years.second)
    shade = replace(next(v for v in pair.variables if v.name == "shade"), role="fraction")
    alone = replace(pair, variables=(shade,), stds={})
    found = changes_of(alone).compute()
    assert found.shade_hectares.dims == ("quantity",)
    net = float(found.shade_hectares.sel(quantity="net"))
    assert net == pytest.approx(float(found.shade_change.sum(dtype=float)) * 1e-4, rel=1e-5)
    stored = store_changes(alone, tmp_path / "changes.zarr", confidence=0.95, advanced=lambda share: None)
    (area,) = areas_of(stored, shade)
    assert area.net == pytest.approx(net)
    assert np.isnan(area.net_std)
