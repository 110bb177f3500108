"""Mutated ENVI headers, Zarr metadata and netCDF files: read, or refused in a sentence, in bounded memory.

`HSI_DASK_FUZZ=20000 pytest tests/io/test_fuzz_headers.py` tries so many of each kind, from the seed HSI_DASK_FUZZ_FIRST
on, each within two minutes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hsi_dask as hsi
from hsi_dask.errors import HsiDaskError
from hsi_dask.io.readers import read_source
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

CASES = int(os.environ.get("HSI_DASK_FUZZ", "0")) or 100
FIRST = int(os.environ.get("HSI_DASK_FUZZ_FIRST", "0"))  # seed
TIMEOUT = 120.0  # seconds, then the process shows where it is and ends; an honest case takes 0.02
MEMORY = 2**30  # bytes that the process may grow by; an honest case takes 1 MB
WAVELENGTH = neon_wavelengths(20, step=100.0)
ODD = [
    "",
    "-1",
    "0",
    "1e400",
    "nan",
    "²",
    "9" * 30,
    "\x00",
    "{",
    "}",
    "=",
    "\ud800",
    "𝟙",
    "[" * 2000,
    "../..",
    "a" * 5000,
]
NESTED: list[Any] = [None, [], {}, -1, 0, 1.5, 2**63, 2**200, "x", True, [[]], {"a": {}}, "NaN", "../../x", [1] * 50]


@pytest.fixture(scope="module")
def scene():
    return simulate_scene((12, 15), wavelength=WAVELENGTH, no_data=0.1)


@pytest.fixture(scope="module")
def cube(scene, tmp_path_factory: pytest.TempPathFactory):
    return hsi.open_neon(write_neon_tile(tmp_path_factory.mktemp("tile"), scene), masked=False).load()


def look(path: Path) -> str:
    """Everything a reader does with a tile; the sentence of an HsiDaskError. Raises what is none."""
    try:
        read_source(path).cube(masked=True).isel(y=slice(3, 9)).compute(scheduler="sync")
    except HsiDaskError as error:
        return str(error)
    return ""


def tried(path: Path, damage: Callable[[random.Random], None], known: tuple[int, ...] = ()) -> dict[str, int]:
    """What came of so many damages, and of those that once escaped; each is seeded by its number."""
    found: dict[str, int] = {}
    wrong, before = list[str](), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for number in (*known, *range(FIRST, FIRST + CASES)):
            damage(random.Random(number))
            faulthandler.dump_traceback_later(TIMEOUT, exit=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                try:
                    sentence = look(path)
                except Exception as error:  # it is what is looked for
                    wrong.append(f"case {number}: {error!r:.500}")
                    continue
            if "\n" in sentence or len(sentence) > 1500:
                wrong.append(f"case {number}: {sentence:.500}")
            verdict = "refused" if sentence else "read"
            found[verdict] = found.get(verdict, 0) + 1
        assert not wrong, "\n".join(wrong[:50])
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
    finally:
        faulthandler.cancel_dump_traceback_later()
    return found


def mutated_text(text: str, chance: random.Random) -> str:
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.choice((0, 1, 3, 40)))
        text = text[:at] + chance.choice([*ODD, chr(chance.randrange(1, 0x3000))]) + text[end:]
    return text


def mutated_values(values: Any, chance: random.Random) -> Any:
    """One value anywhere in nested mappings and lists replaced, left out or put in twice."""
    if isinstance(values, dict) and values and chance.random() < 0.9:
        key = chance.choice(sorted(values))
        changed = {k: v for k, v in values.items() if k != key} if chance.random() < 0.15 else dict(values)
        return changed | ({key: mutated_values(values[key], chance)} if key in changed else {})
    if isinstance(values, list) and values and chance.random() < 0.7:
        at = chance.randrange(len(values))
        return [*values[:at], mutated_values(values[at], chance), *values[at + chance.randrange(2) :]]
    return chance.choice(NESTED)


def test_headers_of_images(scene, tmp_path: Path, write_envi) -> None:
    header = write_envi(tmp_path / "image.img", scene.reflectance(), WAVELENGTH, bbl="{" + ",".join(["1"] * 20) + "}")
    whole = header.read_text()

    def damage(chance: random.Random) -> None:
        lines = whole.splitlines()
        if chance.random() < 0.5:
            at = chance.randrange(1, len(lines))
            lines[at] = f"{lines[at].split('=')[0]}= {chance.choice(ODD)}"
            text = "\n".join(lines)
        else:
            text = mutated_text(whole, chance)
        header.write_text(text, encoding="utf-8", errors="surrogatepass")

    assert set(tried(header, damage)) == {"read", "refused"}


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_of_zarr_folders(cube, tmp_path: Path, version: int) -> None:
    path = tmp_path / "cube.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cube.chunk(y=6, x=8, wavelength=10).to_dataset().to_zarr(path, zarr_format=version, consolidated=False)
    names = ("zarr.json",) if version == 3 else (".zarray", ".zattrs", ".zgroup")
    files = {one: one.read_text() for name in names for one in sorted(path.rglob(name))}
    inside = [one for one in sorted((path / "reflectance").rglob("*")) if one.is_file() and one not in files]
    chunks = {one: one.read_bytes() for one in inside}

    def damage(chance: random.Random) -> None:
        for one, text in files.items():
            one.write_text(text)
        for one, data in chunks.items():
            one.write_bytes(data)
        target = chance.choice([one for one in files if chance.random() < 0.3 or "reflectance" in str(one)] or [*files])
        kind = chance.random()
        if kind < 0.7:
            target.write_text(json.dumps(mutated_values(json.loads(files[target]), chance)))
        elif kind < 0.9:
            target.write_text(mutated_text(files[target], chance), encoding="utf-8", errors="surrogatepass")
        else:
            one = chance.choice(sorted(chunks))
            data = bytearray(chunks[one])
            for _ in range(3):
                data[chance.randrange(len(data))] = chance.randrange(256)
            one.write_bytes(data[: chance.choice((len(data), len(data) // 2, 5))])

    assert set(tried(path, damage)) == {"read", "refused"}


def test_netcdf_files(cube, tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf")
    path = tmp_path / "cube.nc"
    encoding = {"reflectance": {"chunksizes": (6, 8, 10), "zlib": True}}
    cube.to_dataset().to_netcdf(path, engine="h5netcdf", encoding=encoding)
    whole = path.read_bytes()

    def damage(chance: random.Random) -> None:
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at, length = chance.randrange(len(data)), chance.choice((1, 2, 8, 64))
            data[at : at + length] = chance.choice((b"\xff", b"\x00", chance.randbytes(1))) * length
        path.unlink()
        path.write_bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])

    assert set(tried(path, damage, known=(10186, 11959))) == {"read", "refused"}
