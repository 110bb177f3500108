"""Files of spectra against the numbers they were written from and against the `spectral` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from spectral.io import envi

from hsi_dask.errors import EndmemberError
from hsi_dask.io.spectra import read_spectra
from hsi_dask.io.store import write_endmembers

NM = np.array([400.0, 450.0, 500.5, 600.0, 2450.0])
OAK, LAKE = np.array([0.03, 0.04, 0.08, 0.05, 0.21]), np.array([0.06, 0.05, 0.03, 0.02, 0.0])
SPECTRA = np.array([OAK, LAKE])


def table(path: Path, head: str, scale: float = 1.0, unit: float = 1.0, separator: str = ",") -> Path:
    rows = [separator.join(f"{v:.10g}" for v in (w * unit, a * scale, b * scale)) for w, a, b in zip(NM, OAK, LAKE)]  # noqa: B905
    path.write_text("\n".join(["# made by hand", head.replace(",", separator), *rows]) + "\n")
    return path


def library(path: Path, values: Any, kind: int = 4, order: int = 0, **fields: str) -> Path:
    dtype = np.dtype({2: "i2", 4: "f4", 5: "f8", 12: "u2"}[kind]).newbyteorder(">" if order else "<")
    stated = {
        "samples": "5", "lines": "2", "bands": "1", "header offset": "0", "file type": "ENVI Spectral Library",
        "data type": str(kind), "interleave": "bsq", "byte order": str(order), "wavelength units": "Nanometers",
        "spectra names": "{ Oak leaf,\n Lake }", "wavelength": "{" + ", ".join(map(str, NM)) + "}",
    } | {key.replace("_", " "): value for key, value in fields.items()}  # fmt: skip
    np.asarray(values).astype(dtype).tofile(path)
    header = "ENVI\n" + "\n".join(f"{key} = {value}" for key, value in stated.items() if value)
    path.with_suffix(".hdr").write_text(header + "\n")
    return path


@pytest.mark.parametrize(
    ("head", "scale", "unit", "separator", "told"),
    [
        ("wavelength,oak,lake", 1.0, 1.0, ",", "wavelengths in nm by their values; reflectance as fractions by its"),
        ("wavelength (um),oak,lake", 100.0, 1e-3, ";", "wavelengths in um as the file says; reflectance in percent"),
        ("Wavelength_nm,oak,lake", 10000.0, 1.0, "\t", "wavelengths in nm as the file says; reflectance out of 10000"),
        ("w,oak,lake", 1.0, 1e-3, ",", "wavelengths in um by their values"),
        ("Micrometres,oak,lake", 1.0, 1e-3, ",", "wavelengths in micrometer as the file says"),
    ],
)
def test_a_table_of_columns_comes_as_fractions_on_nanometres(
    tmp_path: Path, head: str, scale: float, unit: float, separator: str, told: str
) -> None:
    spectra = read_spectra(table(tmp_path / "s.csv", head, scale, unit, separator))
    assert (spectra.dims, spectra.dtype) == (("endmember", "wavelength"), np.float32)
    np.testing.assert_allclose(spectra.wavelength, NM)
    np.testing.assert_allclose(spectra, SPECTRA, rtol=1e-6)
    assert spectra.attrs["names"] == ["oak", "lake"]
    assert told in spectra.attrs["units_from"]
    assert spectra.endmember.values.tolist() == [1, 2]


def test_a_table_of_rows_as_ecosis_exports_it(tmp_path: Path) -> None:
    rows = [",".join(["2021", name, *map(str, s)]) for name, s in (("oak", OAK), ("lake", LAKE))]
    rows[1] = rows[1].replace("0.02", "NA")
    (tmp_path / "e.csv").write_text("\n".join(["name,kind,400,450,500.5,600,2450", *rows]))
    spectra = read_spectra(tmp_path / "e.csv")
    assert spectra.attrs["names"] == ["2021", "2021"]
    expected = np.where(SPECTRA == 0.02, np.nan, SPECTRA)
    np.testing.assert_allclose(spectra, expected, rtol=1e-6)


def test_a_table_without_names_and_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("600,0.3\n400,0.1\n500,0.2\n")
    spectra = read_spectra(tmp_path / "s.csv")
    assert spectra.wavelength.values.tolist() == [400, 500, 600]
    np.testing.assert_allclose(spectra[0], [0.1, 0.2, 0.3], rtol=1e-6)
    assert spectra.attrs["names"] == ["endmember_1"]
    (tmp_path / "t.csv").write_text("wavelength,1,2,3\n400,.1,.2,.3\n500,.1,.2,.3\n")
    assert read_spectra(tmp_path / "t.csv").attrs["names"] == ["1", "2", "3"]


@pytest.mark.parametrize(("kind", "order", "scale"), [(4, 0, 1), (5, 1, 1), (2, 1, 10000), (12, 0, 10000)])
def test_an_envi_library_of_any_type_and_byte_order(tmp_path: Path, kind: int, order: int, scale: int) -> None:
    """Oracle: the spectral package."""
    stated = {"reflectance_scale_factor": str(scale)} if scale > 1 else {}
    path = library(tmp_path / "lib.sli", SPECTRA * scale, kind, order, **stated)
    spectra = read_spectra(path)
    other = envi.open(str(path.with_suffix(".hdr")), str(path))
    np.testing.assert_allclose(spectra, np.asarray(other.spectra) / (scale if scale > 1 else 1), rtol=1e-6)
    np.testing.assert_allclose(spectra.wavelength, other.bands.centers)
    assert spectra.attrs["names"] == [" ".join(name.split()) for name in other.names] == ["Oak leaf", "Lake"]
    xr.testing.assert_equal(spectra, read_spectra(path.with_suffix(".hdr")))


def test_a_library_tells_widths_units_and_missing_values(tmp_path: Path) -> None:
    values = SPECTRA.copy()
    values[1, 2] = -1.23e34
    values[0, 0] = -99
    path = library(
        tmp_path / "lib.sli", values, wavelength="{" + ",".join(f"{w / 1000}" for w in NM) + "}",
        wavelength_units="Micrometers", fwhm="{0.01, 0.01, 0.02, 0.02, 0.03}", data_ignore_value="-99",
    )  # fmt: skip
    spectra = read_spectra(path)
    np.testing.assert_allclose(spectra.wavelength, NM)
    np.testing.assert_allclose(spectra.fwhm, [10, 10, 20, 20, 30])
    assert np.isnan(spectra).values.tolist() == [[True, *[False] * 4], [False, False, True, False, False]]


def test_a_real_library_equals_the_spectral_package_s(real_data: Path) -> None:
    path = real_data / "speclib" / "optimized.sli"
    spectra = read_spectra(path)
    other = envi.open(f"{path}.hdr", str(path))
    np.testing.assert_array_equal(spectra, other.spectra)
    np.testing.assert_allclose(spectra.wavelength, np.array(other.bands.centers) * 1000)
    assert spectra.attrs["names"] == [str(name) for name in other.names]
    one = read_spectra(path, ["fs15r_fs4397", "FS15R_FS4281"])
    np.testing.assert_array_equal(one, spectra[[6, 0]])
    assert one.attrs["names"] == ["FS15R_FS4397", "FS15R_FS4281"]


def test_an_earlier_run_comes_as_it_was(tmp_path: Path) -> None:
    coords = {"endmember": [1, 2], "wavelength": NM, "fwhm": ("wavelength", np.full(5, 6.0))}
    written = xr.DataArray(SPECTRA.astype("f4"), coords, ("endmember", "wavelength"))
    write_endmembers(tmp_path / "run/endmembers.zarr", written)
    for path in (tmp_path / "run", tmp_path / "run/endmembers.zarr"):
        spectra = read_spectra(path)
        np.testing.assert_array_equal(spectra, written)
        np.testing.assert_array_equal(spectra.fwhm, written.fwhm)
        assert spectra.attrs["names"] == ["endmember_1", "endmember_2"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["oka"], r"has no spectrum named 'oka'; did you mean 'oak'\?"),
        (["quartz"], r"has no spectrum named 'quartz'; it has oak, lake"),
        ([], r"no name is given of the 2 spectra"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(EndmemberError, match=sentence):
        read_spectra(table(tmp_path / "s.csv", "wavelength,oak,lake"), names)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("s.csv", "", "has 0 lines"),
        ("s.csv", "wavelength,oak\n400,x\n500,1\n", "has 'x' where a number should be"),
        ("s.csv", "wavelength,oak\n400,1,2\n500,1\n", "has 3 cells in row 2, but 2 in the first"),
        ("s.csv", "NAME,SOURCE\noak,usgs\nlake,usgs\n", "has 'oak' in its first column, not a wavelength"),
        ("s.csv", "wavelength,oak\n400,0.1\n400,0.2\n", "needs two or more wavelengths, positive and each once"),
        ("s.csv", "wavelength,oak\n400,\n500,NaN\n", "holds no value"),
        ("s.sli", "abc", "has no header s.hdr beside it"),
        ("s.hdr", "ENVI\n", "is a header, but there is no s.sli beside it"),
        ("s.xlsx", "PK", "is no file of spectra that is known"),
        ("s.csv", b"\xff\xfe\x00", "cannot be read as spectra"),
    ],
)
def test_what_is_no_table_is_one_sentence(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EndmemberError, match=sentence) as caught:
        read_spectra(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"lines": "3", "spectra_names": ""}, r"has 40 bytes, but 3 spectra of 5 wavelengths need 60; copy it again"),
        ({"data_type": "6"}, "has data type 6, which no spectrum has"),
        ({"samples": "many"}, "has samples = 'many', not a whole number"),
        ({"wavelength": "{1, 2}"}, "has 2 wavelengths for 5 samples"),
        ({"spectra_names": "{a}"}, "has 1 spectra names for 2 spectra"),
    ],
)
def test_a_wrong_header_is_one_sentence(tmp_path: Path, fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(EndmemberError, match=sentence):
        read_spectra(library(tmp_path / "lib.sli", SPECTRA, **fields))


def test_a_file_that_is_not_there_and_a_folder_that_is_no_run_are_told(tmp_path: Path) -> None:
    with pytest.raises(EndmemberError, match="does not exist; give a run directory"):
        read_spectra(tmp_path / "none.csv")
    with pytest.raises(EndmemberError, match="cannot be read as spectra"):
        read_spectra(tmp_path)
