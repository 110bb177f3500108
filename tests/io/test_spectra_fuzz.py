"""Mutated tables and libraries: spectra that can be, or one sentence of an EndmemberError; never anything else.

`HSI_DASK_FUZZ=20000 pytest tests/io/test_spectra_fuzz.py` tries so many, each within 20 seconds and all within 2 GB of
memory. `case(folder, seed)` shows a single one.
"""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import EndmemberError
from hsi_dask.io.libraries import write_library
from hsi_dask.io.spectra import read_spectra
from hsi_dask.ops.resampling import resample_endmembers
from hsi_dask.synthetic import material_spectra

CASES = int(os.environ.get("HSI_DASK_FUZZ", "0"))
FIRST = int(os.environ.get("HSI_DASK_FUZZ_FIRST", "0"))  # seed
TIMEOUT = 20.0  # seconds, then the process shows where it is and ends
MEMORY = 2 * 2**30  # beyond what the process has when it begins

NM = np.arange(400.0, 2450.0, 40.0)
NAMES = ["vegetation", "soil", "roof", "water"]
SPECTRA = material_spectra(NAMES, NM).astype("f4")
CLASSES = ["plant", "ground", "built", "water"]
TOKENS = [
    "", "0", "-1", "1", "²", "٣", "1e999", "-1e999", "1e-320", "nan", "inf", "-inf", "-9999", "-1.23e34", "65535",
    "9" * 30, "9" * 5000, "1_0", "0x10", "1,5", "1.5.2", "400", "0.4", "\x00", "\x1b[2J", "\u202e", '"', "'", "{", "}",
    "{}", "=", ";", ",", "\t", "#", "\n", "\r", "\r\n", "\ufeff", "sep=;", "wavelength", "wavelength = {", "name",
    "NAME", "class", "samples", "lines = 4611686018427387904", "samples = 4611686018427387904", "header offset = -8",
    "header offset = 99999999999", "data type = 6", "data type = 1", "byte order = 1", "bbl = {0}", "fwhm = {-1}",
    "reflectance scale factor = 0", "reflectance scale factor = 1e-300", "data ignore value = 1e300", "ENVI",
    "{" * 300, "," * 3000, "=1+1", "@", "wavenumber",
]  # fmt: skip


@cache
def originals() -> dict[str, dict[str, bytes]]:
    """Files of each form, by their names; the first is the one that is read."""
    spectra = [[f"{v:.4f}" for v in s] for s in SPECTRA]
    percent = [[f"{100 * v:.4f}" for v in s] for s in SPECTRA]
    nm = [f"{w:g}" for w in NM]
    by_columns = lines(["wavelength_nm", *NAMES], *zip(nm, *spectra, strict=True))
    by_rows = lines(["name", "class", "lat", *nm], *([n, c, "34.4", *s] for n, c, s in zip(NAMES, CLASSES, percent)))  # noqa: B905
    pairs = lines(
        [cell for name in NAMES for cell in ("Wavelength", name)],
        *([cell for value in row[1:] for cell in (row[0], value)] for row in zip(nm, *spectra, strict=True)),
    )
    german = "\ufeff; Straße\n" + by_columns.replace(",", ";").replace(".", ",") + "\n;;;;;\n"
    return {
        "columns": {"l.csv": f"# made by hand\n{by_columns}\n".encode()},
        "rows": {"l.csv": by_rows.encode()},
        "pairs": {"l.txt": pairs.replace(",", "\t").encode("utf-16")},
        "german": {"l.csv": german.encode()},
        "library": library(),
    }


def lines(*rows: Iterable[str]) -> str:
    return "\n".join(map(",".join, rows))


def library() -> dict[str, bytes]:
    """Header, data and the table beside an ENVI library."""
    coords = {"endmember": np.arange(1, 5), "wavelength": NM, "fwhm": ("wavelength", np.full(NM.size, 10.0))}
    written = xr.DataArray(SPECTRA, coords, ("endmember", "wavelength"), attrs={"names": NAMES})
    with TemporaryDirectory() as folder:
        data, header = (path.read_bytes() for path in write_library(Path(folder, "l.sli"), written))
    more = "bbl = {" + ", ".join(["1"] * NM.size) + "}\ndata ignore value = -9999\n"
    beside = "\n".join(["NAME,LEVEL_2", *map(",".join, zip(NAMES, CLASSES, strict=True))])
    return {"l.hdr": header + more.encode(), "l.sli": data, "l.csv": beside.encode()}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to many bytes, words or lines changed, put in, taken away, repeated or moved; or the end cut off."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at, length = chance.randrange(len(out) + 1), chance.choice((1, 1, 2, 4, 16, 200))
        how = chance.choice(("flip", "token", "token", "insert", "remove", "repeat", "move", "line", "cut"))
        if how == "flip" and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif how in ("token", "insert"):
            token = chance.choice(TOKENS).encode()
            end = at if how == "insert" else at + len(out[at:].split(b",")[0].split(b"\n")[0])
            out[at:end] = token
        elif how == "remove":
            del out[at : at + length]
        elif how == "repeat":
            out[at:at] = out[at : at + length] * chance.choice((1, 3, 100))
        elif how == "move":
            part = out[at : at + length]
            del out[at : at + length]
            to = chance.randrange(len(out) + 1)
            out[to:to] = part
        elif how == "line":
            rows = bytes(out).split(b"\n")
            rows.insert(chance.randrange(len(rows)), chance.choice(rows))
            if chance.random() < 0.2:
                chance.shuffle(rows)
            out = bytearray(b"\n".join(rows))
        elif how == "cut" and chance.random() < 0.3:
            del out[at:]
    return bytes(out)


def case(folder: Path, seed: int) -> str:
    """Write the mutated files of a seed, read them, and say what came of it."""
    chance = random.Random(seed)
    files = originals()[chance.choice([*originals(), "library", "library"])]
    hurt = chance.choice(list(files))
    for name, data in files.items():
        (folder / name).write_bytes(mutated(data, chance) if name == hurt or chance.random() < 0.1 else data)
    options = chance.choice(({}, {}, {"units": "percent"}, {"material_column": "class"}, {"names": ["Soil"]}))
    cube = xr.DataArray(np.zeros(40), {"wavelength": np.linspace(500, 2300, 40)}, ("wavelength",))
    try:
        spectra = read_spectra(folder / next(iter(files)), **options)  # type: ignore[arg-type]
        require_sound(spectra)
        resample_endmembers(spectra, cube)
    except EndmemberError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert len(sentence) < 1500
        return "refused"
    finally:
        for name in files:
            (folder / name).unlink(missing_ok=True)
    return "read"


def require_sound(spectra: xr.DataArray) -> None:
    """What every spectrum that was read must be."""
    assert spectra.dims == ("endmember", "wavelength")
    assert spectra.dtype == np.float32
    assert (np.diff(spectra.wavelength) > 0).all()
    known = spectra.values[np.isfinite(spectra.values)]
    assert not known.size or -0.5 <= known.min() <= known.max() <= 3
    assert not np.isinf(spectra.values).any()
    for key in ("name", "material"):
        if key in spectra.coords:
            assert all(isinstance(one, str) and (one.isprintable() or not one.isascii()) for one in spectra[key].values)
    assert "\n" not in spectra.attrs["units_from"]


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path: Path, first: int) -> None:
    verdicts = Counter(case(tmp_path, seed) for seed in range(first, first + 100))
    assert verdicts["read"] > 10
    assert verdicts["refused"] > 10


@pytest.mark.skipif(not CASES, reason="HSI_DASK_FUZZ is not set to a number of cases")
def test_many_damaged_files_within_bounds(tmp_path: Path) -> None:
    before, found, verdicts = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, list[str](), Counter[str]()
    for seed in range(FIRST, FIRST + CASES):
        faulthandler.dump_traceback_later(TIMEOUT, exit=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                verdicts[case(tmp_path, seed)] += 1
        except Exception as error:  # it is what is looked for
            found.append(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}")
        faulthandler.cancel_dump_traceback_later()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sys.stderr.write(f"{dict(verdicts)}, {grown / 2**10:.0f} MB\n")
    assert not found, "\n".join(found[:50])
    assert grown * 1024 < MEMORY, f"{grown / 2**20:.2f} GB"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spaces.hdr", b"ENVI\n" + b" " * 2**22),
        ("open.hdr", b"ENVI\n" + b"a = {\n" * 2**19),
        ("keys.hdr", b"ENVI\n" + b"a = {}\n" * 2**19),
        ("commas.csv", b"," * 2**21),
        ("quotes.csv", b'"' * 2**20),
        ("semicolons.csv", b"; a\n" * 2**18),
        ("text.csv", b"w,a\n" + b"400,x\n" * 2**18),
        ("blank.csv", b"\n" * 2**22),
        ("above.csv", b"name," + b",".join(b"%d" % n for n in range(1000, 400_000)) + b"\nx" + b",.1" * 398_999),
        ("wide.csv", b"w" + b",1" * 2**19 + b"\n400" + b",1" * 2**19 + b"\n500" + b",x" * 2**19),
    ],
)
def test_what_is_made_to_take_long_is_refused_soon(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / name).with_suffix(".sli").write_bytes(bytes(16))
    faulthandler.dump_traceback_later(TIMEOUT * 3, exit=True)  # a loaded machine; what is not linear takes hours
    try:
        with pytest.raises(EndmemberError):
            read_spectra(tmp_path / name)
    finally:
        faulthandler.cancel_dump_traceback_later()
