"""Nearest library spectra against angles that are computed one by one."""

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.ops.identification import labelled
from hsi_dask.synthetic import MATERIALS, material_spectra


def spectra_of(wavelength, names, **more):
    values = material_spectra(names, wavelength)
    array = xr.DataArray(values, {"wavelength": wavelength}, ("endmember", "wavelength"))
    return array.assign_coords(
        endmember=np.arange(1, len(names) + 1), name=("endmember", np.array(names, dtype=object)), **more
    )


WAVELENGTH = np.arange(400.0, 2400.0, 10.0)
LIBRARY = spectra_of(WAVELENGTH, MATERIALS)


def test_the_nearest_are_those_of_the_smallest_angles_in_order():
    endmembers = 0.6 * LIBRARY[[2, 4]] + 0.02 * LIBRARY[[0, 1]].values
    found = hsi.identify(endmembers.assign_coords(endmember=[7, 9]), LIBRARY, nearest=6)
    assert found.endmember.values.tolist() == [7, 9]
    for row, spectrum in enumerate(endmembers.values):
        angles = [np.arccos(spectrum @ one / np.linalg.norm(spectrum) / np.linalg.norm(one)) for one in LIBRARY.values]
        order = np.argsort(angles)
        assert found.name[row].values.tolist() == [MATERIALS[n] for n in order]
        np.testing.assert_allclose(found.angle[row], np.sort(angles), atol=1e-6)
        assert float(found.margin[row]) == pytest.approx(np.diff(np.sort(angles))[0], abs=1e-6)


def test_a_library_that_ends_sooner_is_compared_where_it_reaches():
    part = LIBRARY.sel(wavelength=slice(450, 2300))
    found = hsi.identify(LIBRARY[:2], part, nearest=1)
    assert found.name.values.ravel().tolist() == list(MATERIALS[:2])
    assert float(found.angle.max()) < 1e-6


def test_a_library_that_reaches_less_than_half_is_refused():
    with pytest.raises(EndmemberError, match=r"covers 400.0 to 900.0 nm, but not"):
        hsi.identify(LIBRARY, LIBRARY.sel(wavelength=slice(400, 900)))


def test_other_methods_are_refused():
    with pytest.raises(ConfigError, match="method must be 'sam', not 'sid'"):
        hsi.identify(LIBRARY, LIBRARY, method="sid")


def test_names_that_do_not_say_the_material_are_told_with_it():
    materials = np.array(["green", "soil", "built", "built", "water", "dry"], dtype=object)
    found = hsi.identify(LIBRARY[[1, 2]], LIBRARY.assign_coords(material=("endmember", materials)), nearest=1)
    assert found.material.values.ravel().tolist() == ["soil", "built"]
    assert labelled(found) == [["soil"], ["asphalt (built)"]]
