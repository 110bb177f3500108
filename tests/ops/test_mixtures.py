"""MESMA and fractional cover on labelled cubes: closed forms of two materials, degenerate libraries, dark pixels."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.synthetic import material_spectra

WAVELENGTH = np.linspace(450.0, 1300.0, 40)
PLANT, SOIL, ROOF = material_spectra(["vegetation", "soil", "roof"], WAVELENGTH)
MIXTURE = 0.4 * PLANT + 0.5 * SOIL  # and shade, 0.1
METHODS = {
    "mesma": hsi.mesma,
    "posterior": hsi.fractional_cover,
    "bundles": lambda cube, library: hsi.fractional_cover(cube, library, method="bundles"),
}


def library_of(spectra, materials):
    coords = {"endmember": np.arange(1, len(spectra) + 1), "wavelength": WAVELENGTH}
    library = xr.DataArray(np.array(spectra), coords, ("endmember", "wavelength"))
    return library.assign_coords(material=("endmember", np.array(list(materials), dtype=object)))


def cube_of(*pixels):
    labels = {"y": [0.5], "x": np.arange(len(pixels)) + 0.5, "wavelength": WAVELENGTH}
    return xr.DataArray(np.array(pixels)[None], labels, ("y", "x", "wavelength"))


def fractions(method, library, *pixels):
    return METHODS[method](cube_of(*pixels), library).fraction.values[:, 0]


@pytest.mark.parametrize(
    ("spectra", "materials"),
    [
        ([PLANT, SOIL], "ps"),
        ([PLANT] * 3 + [SOIL] * 3, "pppsss"),
        ([PLANT, SOIL, PLANT, SOIL], "psps"),
        (np.array([PLANT, SOIL, ROOF])[[0, 0, 1, 1, 2]], "ppssr"),
    ],
)
def test_a_mixture_of_spectra_that_a_library_has_once_or_often_is_found(spectra, materials):
    library = library_of(spectra, materials)
    names = list(np.unique(list(materials)))
    mesma = dict(zip(names, fractions("mesma", library, MIXTURE)[:, 0], strict=True))
    cover = dict(zip(names, fractions("posterior", library, MIXTURE)[:, 0], strict=True))
    assert (mesma["p"], mesma["s"]) == pytest.approx((0.4, 0.5), abs=1e-5)
    assert (cover["p"], cover["s"]) == pytest.approx((4 / 9, 5 / 9), abs=1e-3)
    assert max(mesma.get("r", 0), cover.get("r", 0)) < 1e-3


def test_a_spectrum_that_is_of_two_materials_is_shared_and_is_not_sure():
    found = hsi.fractional_cover(cube_of(MIXTURE), library_of([PLANT, PLANT, SOIL], "abs")).isel(y=0, x=0)
    assert found.fraction.values == pytest.approx([2 / 9, 2 / 9, 5 / 9], abs=1e-3)
    assert found.fraction_std.values[:2] == pytest.approx(2 / 9, abs=1e-3)
    assert found.fraction_std.values[2] < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_pixels_without_data_or_light_have_no_fractions(method):
    missing, zero = MIXTURE.copy(), np.zeros(40)
    missing[7] = np.nan
    found = fractions(method, library_of([PLANT, SOIL], "ps"), MIXTURE, missing, zero)
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1:]).all()


def test_pixels_in_deep_shade_or_saturated_are_not_modelled_by_mesma_and_tell_by_their_shade_in_cover():
    dark, bright, library = 0.02 * PLANT, np.full(40, 1.5), library_of([PLANT, SOIL], "ps")
    mesma = hsi.mesma(cube_of(dark, bright), library).isel(y=0)
    assert np.isnan(mesma.fraction).all()
    assert (mesma.model == -1).all()
    cover = hsi.fractional_cover(cube_of(dark, bright), library).isel(y=0)
    assert cover.shade.values[0] == pytest.approx(0.98, abs=0.01)
    assert cover.shade.values[1] < -1
    assert cover.fraction.sum("material").values == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("chunks", [{"x": 2}, {"wavelength": 7}, {"x": 3, "wavelength": 13}])
@pytest.mark.parametrize("method", METHODS)
def test_a_lazy_cube_has_the_same_fractions_whatever_its_chunks(method, chunks):
    rng = np.random.default_rng(0)
    spectra = np.repeat([PLANT, SOIL, ROOF], 4, axis=0) * rng.uniform(0.7, 1.1, (12, 1)) + rng.normal(0, 0.01, (12, 40))
    library = library_of(spectra, np.repeat(list("psr"), 4))
    cube = cube_of(*(rng.dirichlet(np.ones(3), 11) @ np.array([PLANT, SOIL, ROOF])))
    eager, lazy = METHODS[method](cube, library), METHODS[method](cube.chunk(chunks), library)
    assert isinstance(lazy.fraction.data, da.Array)
    xr.testing.assert_allclose(lazy.compute(), eager, atol=2e-6)


@pytest.mark.parametrize("method", ["posterior", "bundles"])
def test_more_noise_is_less_sure_and_no_other_answer_in_other_chunks(method):
    rng = np.random.default_rng(1)
    spectra = np.repeat([PLANT, SOIL], 6, axis=0) + rng.normal(0, 0.005, (12, 40))
    library, cube = library_of(spectra, np.repeat(list("ps"), 6)), cube_of(*[MIXTURE] * 5)
    quiet, noisy = (hsi.fractional_cover(cube, library, method=method, noise=noise) for noise in (0.001, 0.03))
    assert (noisy.fraction_std > quiet.fraction_std).all()
    chunked = hsi.fractional_cover(cube.chunk(x=2), library, method=method, noise=0.03)
    xr.testing.assert_allclose(chunked.compute(), noisy, atol=2e-6)


def test_a_shade_spectrum_stands_for_the_dark_part():
    shade = xr.DataArray(np.full(40, 0.03), {"wavelength": WAVELENGTH}, ("wavelength",))
    found = hsi.mesma(cube_of(MIXTURE + 0.1 * 0.03), library_of([PLANT, SOIL], "ps"), shade_spectrum=shade)
    assert found.fraction.values.ravel() == pytest.approx([0.4, 0.5], abs=1e-5)
    assert found.shade.item() == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize("method", ["mesma", "posterior"])
def test_a_library_of_two_thousand_spectra_is_refused_with_its_number_of_models(method):
    library = library_of(np.repeat([PLANT, SOIL, ROOF], 700, axis=0), np.repeat(list("psr"), 700))
    wanted = {"mesma": {"max_materials": 3}, "posterior": {}}[method]
    with pytest.raises(
        EndmemberError, match=r"2100 spectra make 344472100 models of up to 3 materials, more than 1000"
    ):
        {"mesma": hsi.mesma, "posterior": hsi.fractional_cover}[method](cube_of(MIXTURE), library, **wanted)
    drawn = fractions("bundles", library, MIXTURE)  # draws are as many whatever the library
    assert drawn.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda c, a: hsi.mesma(c, a.drop_vars("material")), EndmemberError, "mesma: the spectra have no materials"),
        (lambda c, a: hsi.fractional_cover(c, a.assign_coords(material=("endmember", np.array(["", "s"], object)))),
         EndmemberError, "endmember 1 has no material, but others have; name one for each"),
        (lambda c, a: hsi.mesma(c, a, max_materials=4), ConfigError, "max_materials"),
        (lambda c, a: hsi.fractional_cover(c, a, method="mc"), ConfigError, "posterior or bundles"),
        (lambda c, a: hsi.mesma(c, a.isel(wavelength=slice(3))), EndmemberError, "endmembers have 3 wavelengths"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(cube_of(MIXTURE), library_of([PLANT, SOIL], "ps"))
