"""Files of spectra against the numbers they were written from and against the `spectral` package."""

from __future__ import annotations

import csv
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from spectral.io import envi

from hsi_dask.errors import EndmemberError
from hsi_dask.io.endmember_store import write_endmembers
from hsi_dask.io.libraries import write_library, write_table
from hsi_dask.io.spectra import read_spectra

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
        ({"wavelength": "{1, 2}"}, "has 2 numbers as wavelength for 5 samples"),
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


# ------------------------------------------------------------------------------------------------ tables of other forms

GRID = np.arange(400.0, 900.0, 50.0)
CANOPY = np.linspace(0.05, 0.45, GRID.size)


def columns(path: Path, head: list[str], *columns: Any, separator: str = ",") -> Path:
    rows = [separator.join("" if v != v else f"{v:.10g}" for v in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([separator.join(head), *rows]) + "\n")
    return path


def test_pairs_of_columns_are_wavelengths_and_a_spectrum_each(tmp_path: Path) -> None:
    head = ["Wavelength (nm)", "oak", "Wavelength (nm)", "lake"]
    path = columns(tmp_path / "w.txt", head, GRID, CANOPY, GRID, 0.1 * CANOPY, separator="\t")
    spectra = read_spectra(path)
    assert spectra.attrs["names"] == ["oak", "lake"]
    np.testing.assert_allclose(spectra, [CANOPY, 0.1 * CANOPY], rtol=1e-6)
    np.testing.assert_allclose(spectra.wavelength, GRID)
    unnamed = columns(tmp_path / "u.csv", ["a", "oak", "b", "lake"], GRID, CANOPY, GRID, 0.1 * CANOPY)
    assert read_spectra(unnamed).attrs["names"] == ["oak", "lake"]


def test_a_pair_that_ends_sooner_is_missing_beyond(tmp_path: Path) -> None:
    short, lake = np.where(GRID < 700, GRID, np.nan), np.where(GRID < 700, CANOPY, np.nan)
    path = columns(tmp_path / "p.csv", ["wavelength", "oak", "wavelength", "lake"], GRID, CANOPY, short, lake)
    np.testing.assert_allclose(read_spectra(path), [CANOPY, lake], rtol=1e-6)


def test_pairs_on_other_wavelengths_are_refused_and_not_interpolated(tmp_path: Path) -> None:
    path = columns(tmp_path / "p.csv", ["nm", "oak", "nm", "lake"], GRID, CANOPY, GRID + 1, CANOPY)
    with pytest.raises(EndmemberError, match=r"whose wavelengths differ \(20 in all, 10 in one\).* on one grid"):
        read_spectra(path)


@pytest.mark.parametrize(
    ("name", "column", "why"),
    [
        ("lat", CANOPY, "'lat' is no spectrum by its name"),
        ("sample", np.arange(1.0, 11.0), "'sample' counts from 1 to 10 and is no spectrum"),
        ("site", np.full(10, 34.43), "'site' holds 34.43 at every wavelength and is no spectrum"),
        ("wavelength_um", GRID / 1000, "'wavelength_um' holds wavelengths, but no spectrum follows"),
    ],
)
def test_columns_that_are_no_spectra_are_refused_by_name(tmp_path: Path, name: str, column: Any, why: str) -> None:
    path = columns(tmp_path / "c.csv", ["wavelength", "oak", name], GRID, CANOPY, column)
    with pytest.raises(EndmemberError, match=f"c.csv: the column {why}; remove it"):
        read_spectra(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nm,kind,oak\n400,a,.1\n500,b,.2\n600,c,.3\n", "text such as 'a' in the column 'kind', which is no spectrum"),
        (
            "wavenumber,oak\n25000,.1\n20000,.2\n",
            "has wavenumbers where wavelengths should be; give wavelengths",
        ),
        ("400,500,600\n.1,.2,.3\n.2,.3,.3\n.1,.3,.3\n", "seems to have its wavelengths, 400 to 600, in the first row"),
        ("band,oak\n1,.1\n2,.2\n3,.3\n", "counts 1 to 3 where wavelengths should be: numbers of bands"),
        ("# one\nwavelength,oak\n\n400,x\n500,1\n600,1\n", r"has 'x' where a number should be \(row 4\); correct it"),
        (
            "nm;oak\n400;0,1\n500;0.2\n600;0.3\n",
            r"has '0,1' where a number should be \(row 2\); write it with a",
        ),
        ("name,400,500\n", "has wavelengths, but no spectrum below them"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(EndmemberError, match=sentence):
        read_spectra(tmp_path / "t.csv")


def test_names_that_only_look_like_wavelengths_stay_names(tmp_path: Path) -> None:
    path = columns(tmp_path / "n.csv", ["w", "s10", "s20"], GRID, CANOPY, CANOPY / 2)
    assert read_spectra(path).attrs["names"] == ["s10", "s20"]
    (tmp_path / "r.csv").write_text("plot,n10,X400,X410\nA,12,.1,.2\nB,13,.2,.3\n")
    assert read_spectra(tmp_path / "r.csv").wavelength.values.tolist() == [400, 410]


def test_names_lose_control_characters(tmp_path: Path) -> None:
    columns(tmp_path / "n.csv", ["wavelength", "a\x1b[31mb", "\u202eoak", "\x07"], *[GRID, CANOPY, CANOPY, CANOPY])
    assert read_spectra(tmp_path / "n.csv").attrs["names"] == ["a[31mb", "oak", "endmember_3"]
    library(tmp_path / "lib.sli", SPECTRA, spectra_names="{a\x1b]0;x\x07, b\tc}")
    assert read_spectra(tmp_path / "lib.sli").attrs["names"] == ["a]0;x", "b c"]


# ------------------------------------------------------------------------------------------------ classes


def test_a_column_of_classes_becomes_the_coordinate_material(tmp_path: Path) -> None:
    rows = ["name,Class,site,400,500", "oak,tree,A,.1,.2", "lawn,grass,B,.2,.3", "elm,tree,,.1,.3"]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    spectra = read_spectra(tmp_path / "l.csv")
    assert spectra["name"].values.tolist() == spectra.attrs["names"] == ["oak", "lawn", "elm"]
    assert spectra["material"].values.tolist() == ["tree", "grass", "tree"]
    assert spectra["material"].dims == spectra["name"].dims == ("endmember",)
    assert spectra.attrs["material_from"] == "Class of l.csv"
    assert read_spectra(tmp_path / "l.csv", material_column="SITE")["material"].values.tolist() == ["A", "B", ""]
    chosen = read_spectra(tmp_path / "l.csv", ["elm", "Lawn"])
    assert chosen["material"].values.tolist() == ["tree", "grass"]
    assert chosen["name"].values.tolist() == chosen.attrs["names"] == ["elm", "lawn"]
    assert spectra.isel(endmember=[2, 0]).endmember.values.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("rows", "material", "how"),
    [
        (["Oak leaf,plant", "Lake,water"], ["plant", "water"], "rows in order"),
        (["Oak,plant", "Lake,water"], ["plant", "water"], "rows in order"),
        (["Lake,water", "Oak leaf,plant"], ["plant", "water"], "rows by name"),
        (["Lake,water", "Elm,plant", "Oak leaf,plant"], ["plant", "water"], "rows by name"),
        (["Elm,plant", "Lake,water", "Oak leaf,plant", "lake,water"], ["plant", "water"], "rows by name"),
    ],
)
def test_the_table_beside_a_library_tells_its_classes(
    tmp_path: Path, rows: list[str], material: list[str], how: str
) -> None:
    path = library(tmp_path / "lib.sli", SPECTRA)
    (tmp_path / "lib.csv").write_text("\n".join(["NAME,LEVEL_2", *rows]))
    for one in (path, path.with_suffix(".hdr")):
        spectra = read_spectra(one)
        assert spectra["material"].values.tolist() == material
        assert spectra.attrs["material_from"] == f"LEVEL_2 of lib.csv, {how}"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["Lake,water", "Elm,plant"], "has no row for 'Oak leaf', and its 2 rows are not the 2 spectra in order"),
        (
            ["Lake,water", "Oak leaf,plant", "Lake,ice"],
            r"classes 'Lake' as 'ice' and 'water', and its 3 rows are",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_passed_over_unless_asked_for(
    tmp_path: Path, rows: list[str], sentence: str
) -> None:
    path = library(tmp_path / "lib.sli", SPECTRA)
    (tmp_path / "lib.csv").write_text("\n".join(["NAME,LEVEL_2", *rows]))
    assert "material" not in read_spectra(path).coords
    with pytest.raises(EndmemberError, match=sentence):
        read_spectra(path, material_column="level_2")


def test_an_unknown_column_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = library(tmp_path / "lib.sli", SPECTRA)
    with pytest.raises(EndmemberError, match=r"has no column 'kind', and no table lib.csv with columns is beside it"):
        read_spectra(path, material_column="kind")
    (tmp_path / "lib.csv").write_text("NAME,LEVEL_2\nOak leaf,plant\nLake,water\n")
    with pytest.raises(EndmemberError, match=r"has no column 'kind'; the columns are 'NAME', 'LEVEL_2'"):
        read_spectra(path, material_column="kind")
    with pytest.raises(EndmemberError, match=r"has no column 'LEVEL_3'; did you mean 'LEVEL_2'\?"):
        read_spectra(path, material_column="LEVEL_3")
    with pytest.raises(EndmemberError, match=r"has no column 'kind': spectra are its columns; give a table with"):
        read_spectra(table(tmp_path / "s.csv", "wavelength,oak,lake"), material_column="kind")


def test_earthlib_s_7261_spectra_have_their_names_and_classes() -> None:
    """Oracle: numpy and csv on the package's files."""
    package = find_spec("earthlib")  # importing it needs Earth Engine
    if package is None or package.origin is None:
        pytest.skip("earthlib is not installed")
    path = Path(package.origin).parent / "data" / "spectra.sli"
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra, np.fromfile(path, "<f4").reshape(7261, 180))
    with path.with_suffix(".csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert spectra["material"].values.tolist() == [row["LEVEL_2"] for row in rows]
    same = [name == row["NAME"] for name, row in zip(spectra["name"].values, rows, strict=True)]
    assert sum(same) == 7260  # burncham is burnedcham there
    other = read_spectra(path, ["FS15R_FS4276"], material_column="LEVEL_3")
    assert other["material"].values.tolist() == ["soil"]


# ------------------------------------------------------------------------------------------------ bad bands, writing


def test_bands_that_bbl_marks_are_missing(tmp_path: Path) -> None:
    values = SPECTRA.copy()
    values[:, 2] = -1
    spectra = read_spectra(library(tmp_path / "lib.sli", values, bbl="{1, 1.0, 0.0,\n 1, 0}"))
    assert np.isnan(spectra).values.tolist() == [[False, False, True, False, True]] * 2
    with pytest.raises(EndmemberError, match="has 2 numbers as bbl for 5 samples"):
        read_spectra(library(tmp_path / "lib.sli", values, bbl="{1, 1}"))


def test_a_width_in_another_unit_than_the_wavelengths_is_unknown(tmp_path: Path) -> None:
    um = "{" + ",".join(f"{w / 1000}" for w in NM) + "}"
    path = library(
        tmp_path / "lib.sli", SPECTRA, wavelength=um, wavelength_units="um", fwhm="{10, 10, 10, -1, 0.03}"
    )  # fmt: skip
    np.testing.assert_allclose(read_spectra(path).fwhm, [np.nan, np.nan, np.nan, np.nan, 30])


@pytest.mark.parametrize("write", [write_library, write_table])
@pytest.mark.parametrize("material", [["tree, deciduous", "=cmd()", ""], None])
def test_spectra_are_written_with_names_and_classes_and_read_back(tmp_path: Path, write: Any, material: Any) -> None:
    values = np.random.default_rng(1).random((3, 5)).astype("f4")
    coords: dict[str, Any] = {"endmember": [1, 2, 3], "wavelength": NM, "name": ("endmember", ["-oak", "@lake", "# 1"])}
    if material:
        coords["material"] = ("endmember", material)
    path = tmp_path / ("e.sli" if write is write_library else "e.csv")
    write(path, xr.DataArray(values, coords, ("endmember", "wavelength"), attrs={"names": ["stale"]}))
    back = read_spectra(path)
    np.testing.assert_array_equal(back, values)
    np.testing.assert_allclose(back.wavelength, NM)
    assert back["name"].values.tolist() == ["-oak", "@lake", "# 1"]
    if material:
        kept = [one.replace(",", "") if write is write_library else one for one in material]
        assert back["material"].values.tolist() == kept
    else:
        assert "material" not in back.coords
    if write is write_table:
        rows = csv.reader(path.read_text().splitlines())
        assert not [cell for row in rows for cell in row if re.match(r"[=+@#]|-[^0-9]", cell)]


def test_an_earlier_run_s_numbers_stay_and_options_of_files_are_refused(tmp_path: Path) -> None:
    coords = {"endmember": [2, 5], "wavelength": NM}
    written = xr.DataArray(SPECTRA.astype("f4"), coords, ("endmember", "wavelength"), attrs={"names": ["oak", "lake"]})
    write_endmembers(tmp_path / "endmembers.zarr", written)
    spectra = read_spectra(tmp_path / "endmembers.zarr")
    assert spectra.endmember.values.tolist() == [2, 5]
    assert spectra["name"].values.tolist() == spectra.attrs["names"] == ["oak", "lake"]
    assert read_spectra(tmp_path / "endmembers.zarr", ["lake"]).endmember.values.tolist() == [1]
    with pytest.raises(EndmemberError, match="is a run, with its own units and classes"):
        read_spectra(tmp_path / "endmembers.zarr", units="percent")


# ------------------------------------------------------------------------------------------------ what is no file


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"samples": "5²"}, r"has samples = '5²', not a whole number; correct it"),
        ({"lines": "٢"}, "has lines = '٢', not a whole number"),
        ({"header_offset": "-8"}, "has header offset = '-8', not a whole number"),
        (
            {"lines": "9" * 15},
            r"has 999999999999999 or more spectra of 5 wavelengths, but up to 33554432",
        ),
        ({"samples": "9" * 5000}, r"has samples = '9{59}…', not a whole number"),
        ({"wavelength": "{1_0, 2, 3, 4, 5}"}, "has '1_0' as wavelength, which is no number"),
        ({"wavelength": "{400, 500"}, "has no closing brace after 'wavelength'; correct it"),
        ({"wavelength": "{1e300, 2e300, 3e300, 4e300, 5e300}"}, "has wavelengths of 1e"),
        ({"reflectance_scale_factor": "1e-300"}, "but its reflectance scale is 1e-300"),
    ],
)
def test_numbers_of_a_header_that_cannot_be_are_refused(tmp_path: Path, fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(EndmemberError, match=sentence):
        read_spectra(library(tmp_path / "lib.sli", SPECTRA, **fields))


@pytest.mark.parametrize("name", ["t.csv", "lib.sli", "lib.hdr"])
def test_pipes_and_devices_in_place_of_files_are_refused(tmp_path: Path, name: str) -> None:
    library(tmp_path / "lib.sli", SPECTRA)
    path = tmp_path / name
    for make in (os.mkfifo, lambda link: os.symlink("/dev/zero", link)):
        path.unlink(missing_ok=True)
        make(path)
        with pytest.raises(EndmemberError, match=r"is no regular file but a|there is no lib.sli beside it"):
            read_spectra(path)


def test_spectra_are_chosen_by_number_where_none_has_it_as_its_name(tmp_path: Path) -> None:
    path = table(tmp_path / "s.csv", "wavelength,oak,lake")
    assert read_spectra(path, ["2", "oak"]).attrs["names"] == ["lake", "oak"]
    with pytest.raises(EndmemberError, match=r"has no spectrum named '3'; it has oak, lake"):
        read_spectra(path, ["3"])
    path = table(tmp_path / "years.csv", "wavelength,2,1")
    assert read_spectra(path, ["1"]).attrs["names"] == ["1"]
