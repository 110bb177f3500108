"""Libraries reduced, against the kernels' selections and what a person expects of the labels."""

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.synthetic import material_spectra

NAMES = ("vegetation", "soil", "roof")


@pytest.fixture
def library():
    """Twenty spectra of each of three materials, lit unevenly, with noise."""
    rng = np.random.default_rng(0)
    wavelength = np.arange(400.0, 2400.0, 20.0)
    bundles = np.repeat(material_spectra(NAMES, wavelength), 20, axis=0)
    bundles = bundles * rng.uniform(0.4, 1.1, (60, 1)) + rng.normal(0, 0.02, bundles.shape)
    coords = {
        "endmember": np.arange(11, 71), "wavelength": wavelength,
        "material": ("endmember", np.repeat(np.array(NAMES, dtype=object), 20)),
        "name": ("endmember", np.array([f"spectrum {n}" for n in range(60)], dtype=object)),
    }  # fmt: skip
    return xr.DataArray(bundles, coords, ("endmember", "wavelength"), attrs={"names": [f"s{n}" for n in range(60)]})


@pytest.mark.parametrize("method", ["ies", "cob", "ear", "masa"])
def test_few_spectra_stay_with_their_numbers_names_and_materials(library, method):
    kept = hsi.reduce_library(library, method=method)
    assert set(kept.material.values) == set(NAMES)
    assert kept.sizes["endmember"] < 20
    xr.testing.assert_equal(
        kept.drop_vars(["ear", "masa", "cob_in", "cob_out"]), library.sel(endmember=kept.endmember.values)
    )
    assert kept.attrs["names"] == [f"s{n - 11}" for n in kept.endmember.values]
    assert kept.attrs["reduced_by"] == method


@pytest.mark.parametrize("method", ["ear", "masa"])
def test_the_smallest_averages_of_each_material_are_kept(library, method):
    everything = hsi.reduce_library(library, method=method, count=60)
    kept = hsi.reduce_library(library, method=method, count=2)
    for name in NAMES:
        own = everything[method][everything.material == name]
        np.testing.assert_array_equal(np.sort(kept[method][kept.material == name]), np.sort(own)[:2])


def test_what_the_reduced_library_maps_is_near_what_the_whole_maps(library):
    rng = np.random.default_rng(1)
    fraction = rng.dirichlet(np.ones(3), 200)
    cube = xr.DataArray(
        (fraction @ material_spectra(NAMES, library.wavelength)).reshape(10, 20, -1),
        {"y": np.arange(10.0), "x": np.arange(20.0), "wavelength": library.wavelength},
        ("y", "x", "wavelength"),
    )
    whole = hsi.fractional_cover(cube, library)
    reduced = hsi.fractional_cover(cube, hsi.reduce_library(library, method="cob"))
    assert abs(whole.fraction - reduced.fraction).mean() < 0.05


@pytest.mark.parametrize("method", ["cob", "ear", "masa"])
def test_the_order_of_the_spectra_does_not_matter(library, method):
    order = np.random.default_rng(2).permutation(60)
    kept, shuffled = (hsi.reduce_library(one, method=method) for one in (library, library.isel(endmember=order)))
    assert set(kept.endmember.values) == set(shuffled.endmember.values)


def test_every_material_keeps_a_spectrum_that_others_model_as_well(library):
    twin = library[:1].assign_coords(endmember=[99], material=("endmember", np.array(["twin"], dtype=object)))
    library.attrs = twin.attrs = {}
    both = xr.concat([library, twin], "endmember", join="outer", coords="different", compat="equals")
    assert "twin" in hsi.reduce_library(both).material.values


def test_missing_values_and_water_vapour_do_not_count(library):
    spoilt = library.copy()
    spoilt[3, 10] = np.nan
    spoilt.loc[{"wavelength": slice(1340, 1445)}] = 9.0
    expected = hsi.reduce_library(library.drop_sel(wavelength=library.wavelength[10]))
    assert hsi.reduce_library(spoilt).endmember.values.tolist() == expected.endmember.values.tolist()


@pytest.mark.parametrize(
    ("change", "options", "error", "sentence"),
    [
        (lambda a: a.drop_vars("material"), {}, EndmemberError, "have no materials; name their column"),
        (lambda a: a[:20], {}, EndmemberError, "the library has one; select by counts"),
        (lambda a: a * np.nan, {}, EndmemberError, "none of 86 wavelengths has a value in all 60 spectra"),
        (lambda a: a, {"method": "iess"}, ConfigError, "method must be ies, ear, masa, cob, not 'iess'"),
        (lambda a: a, {"count": 0}, ConfigError, "count is 0; keep one spectrum of each material"),
    ],
)
def test_what_cannot_be_reduced_is_refused(library, change, options, error, sentence):
    with pytest.raises(error, match=sentence):
        hsi.reduce_library(change(library), **options)
