"""earthlib by name, against its files as the package has them; without the package a sentence."""

import importlib.util
from pathlib import Path

import pytest

import hsi_dask as hsi
from hsi_dask.errors import EndmemberError
from hsi_dask.io.installed_libraries import kept_name


def test_earthlib_is_read_by_name_with_its_materials():
    if (spec := importlib.util.find_spec("earthlib")) is None:  # not imported: that needs more packages
        pytest.skip("earthlib is not installed")
    folder = Path(spec.submodule_search_locations[0])
    library = hsi.read_spectra("earthlib", ["FS15R_FS4275", "FS15R_FS4276"])
    assert library.attrs["source"] == str(folder / "data" / "spectra.sli")
    assert library.material.values.tolist() == ["bare", "bare"]
    assert hsi.read_spectra("earthlib", ["FS15R_FS4275"], material_column="LEVEL_3").material.item() == "soil"


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("hsi_dask.io.installed_libraries.find_spec", lambda name: None)
    with pytest.raises(EndmemberError, match=r'earthlib is not installed; .*pip install "hsi-dask\[earthlib\]"'):
        hsi.read_spectra("earthlib")


def test_a_file_of_that_name_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kept_name("earthlib") == "earthlib"
    Path("earthlib").mkdir()
    assert kept_name("earthlib") == str(tmp_path / "earthlib")
    with pytest.raises(EndmemberError, match=f"{tmp_path}/earthlib"):
        hsi.read_spectra("earthlib")
