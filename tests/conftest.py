"""Fixtures of all tests: the real data, mutated files, and a small site of six tiles of both chunk layouts."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsi_dask.xarray  # noqa: F401  `.hsi`, whichever test comes first
from hsi_dask.batch.execution.run import run
from hsi_dask.config import RunConfig
from hsi_dask.errors import HsiDaskError
from hsi_dask.synthetic import Site, neon_wavelengths, simulate_site

WAVELENGTH = neon_wavelengths(100, step=20.0)
SETTINGS = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "thresholds": {"sam": 0.3}}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    return simulate_site(folder, tiles=(2, 3), size=40, wavelength=WAVELENGTH, no_data=0.1)


@pytest.fixture(scope="session")
def config(site: Site) -> RunConfig:
    return RunConfig(tiles=[str(site.folder)], **SETTINGS)


@pytest.fixture(scope="session")
def undisturbed(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an embedded run that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    run(config, run_dir)
    return run_dir


@pytest.fixture
def done_run(undisturbed: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return Path(shutil.copytree(undisturbed, tmp_path / "run"))


@pytest.fixture
def own_site(site: Site, tmp_path: Path) -> Path:
    """The site's files, with their times, in a folder to spoil."""
    folder = tmp_path / "site"
    folder.mkdir()
    for path in site.paths:
        shutil.copy2(path, folder)
    return folder


@pytest.fixture
def store_of() -> Callable[[Path], dict[str, bytes]]:
    """Every file of the two stores of a run, by name."""

    def read(run_dir: Path) -> dict[str, bytes]:
        stores = (run_dir / "results.zarr", run_dir / "endmembers.zarr")
        return {str(p.relative_to(run_dir)): p.read_bytes() for s in stores for p in s.rglob("*") if p.is_file()}

    return read


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A Python process of its own that runs this code, in a folder of its own; ended with the test."""
    started = []

    def start(code: str) -> subprocess.Popen[str]:
        script = tmp_path / f"spawned{len(started)}.py"
        script.write_text(textwrap.dedent(code))
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data, which is not part of the project; its tests skip where it is not there."""
    beside = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("HSI_DASK_TEST_DATA") or beside).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set HSI_DASK_TEST_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def write_envi() -> Callable[..., Path]:
    """Writes numbers (y, x, band) as an ENVI image; fields replace those of the header, None leaves one out."""

    def write(path, values, wavelength, /, *, interleave="bil", big=False, offset=0, corner=(368000, 4306000), **new):
        axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}.get(interleave.lower(), (0, 2, 1))
        types = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15}
        stored = np.ascontiguousarray(values.transpose(axes)).astype(values.dtype.newbyteorder(">" if big else "<"))
        path.write_bytes(b"\0" * offset + stored.tobytes())
        rows, columns, bands = values.shape
        header = {
            "samples": columns, "lines": rows, "bands": bands, "header offset": offset, "file type": "ENVI Standard",
            "data type": types[values.dtype.newbyteorder("=").str[1:]], "interleave": interleave,
            "byte order": int(big), "reflectance scale factor": 10000 if values.dtype.kind in "iu" else 1,
            "data ignore value": -9999,
            "map info": f"{{UTM, 1, 1, {corner[0]}, {corner[1] + rows}, 1, 1, 18, North, WGS-84, units=Meters}}",
            "wavelength units": "Nanometers", "wavelength": "{" + ", ".join(map(str, wavelength)) + "}",
        }  # fmt: skip
        header |= {name.replace("_", " "): value for name, value in new.items()}
        lines = ["ENVI", *(f"{name} = {value}" for name, value in header.items() if value is not None), ""]
        path.with_suffix(".hdr").write_text("\n".join(lines))
        return path.with_suffix(".hdr")

    return write


# ------------------------------------------------------------------------------------------------ mutated files

TIMEOUT = 120.0  # seconds of a case, then the process shows where it is and ends
MEMORY = 2 * 2**30  # bytes that the process may grow by
TOKENS = [
    "", "0", "-1", "1", "²", "٣", "1e999", "1e-320", "nan", "NaN", "-Infinity", "9" * 30, "9" * 5000, "1,5", "0x10",
    "null", "true", "\x00", "\x1b[2J", "\u202e", "\ud800", '"', "'", "{", "}", "[", "]", "[" * 3000, ":", ": ", "- ",
    "|", "&a ", "*a", "!!int ", "<<: ", "=", ";", ",", "\t", "#", "\n", "\r\n", "\ufeff", "sep=;", "=1+1", "@x", "..",
    "../../x", "a" * 5000, "<b>", "$\\frac{$", "$HOME", "$$X", "~", "x", "y", "lon", "Point", "Polygon",
    "EPSG:4326", "EPSG:0",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**63, 10**30, 10**400, 1e308, -1e308, 0.5, float("nan"), "", "x", "..", "../../x",
    "\x1b[2J", "\ud800", "<b>", "x" * 5000, [], {}, [[]], [1, 2, 3], [None], {"a": 1}, [[[[0, 0], [1, 1]]]], "2022-06",
    "EPSG:0",
]  # fmt: skip


def _mutated_values(value: Any, chance: random.Random) -> Any:
    """Another value somewhere inside: replaced, left out or doubled."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return value | {key: _mutated_values(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], _mutated_values(value[at], chance), *value[at + chance.randrange(2) :]]
    return chance.choice(VALUES)


def _mutated(data: bytes, chance: random.Random) -> bytes:
    """Values of JSON changed; or bytes, words and lines changed, put in, taken away, doubled, and the end cut off."""
    if data[:1] == b"{" and chance.random() < 0.6:
        values = json.loads(data)
        for _ in range(chance.choice((1, 1, 2, 4))):
            values = _mutated_values(values, chance)
        return json.dumps(values).encode()
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at, length = chance.randrange(len(out) + 1), chance.choice((1, 1, 2, 4, 16, 200))
        how = chance.choice(("flip", "fill", "token", "token", "word", "remove", "repeat", "line", "cut"))
        if how == "flip" and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif how == "fill":
            out[at : at + length] = chance.choice((b"\xff", b"\x00", chance.randbytes(1))) * len(out[at : at + length])
        elif how in ("token", "word"):
            end = at if how == "token" else at + len(out[at:].replace(b",", b"\n").replace(b":", b"\n").split(b"\n")[0])
            out[at:end] = chance.choice(TOKENS).encode("utf-8", "surrogatepass")
        elif how == "remove":
            del out[at : at + length]
        elif how == "repeat":
            out[at:at] = out[at : at + length] * chance.choice((1, 3, 100))
        elif how == "line":
            rows = bytes(out).split(b"\n")
            rows.insert(chance.randrange(len(rows)), chance.choice(rows))
            out = bytearray(b"\n".join(rows))
        elif chance.random() < 0.3:
            del out[at:]
    return bytes(out)


@pytest.fixture
def fuzz(tmp_path: Path) -> Callable[..., Counter[str]]:
    """Mutates files and looks at each: what came of it, where it was nothing but an HsiDaskError of one line.

    `HSI_DASK_FUZZ=20000` in the environment tries so many, from the seed `HSI_DASK_FUZZ_FIRST` on.
    """
    cases, first = (int(os.environ.get(f"HSI_DASK_FUZZ{end}", "0")) for end in ("", "_FIRST"))

    def verdict(path: Path, look: Callable[[Path], Any]) -> str:
        try:
            look(path)
        except HsiDaskError as error:
            return "refused" if "\n" not in str(error) and len(str(error)) < 1500 else f"LONG {error}"
        except Exception as error:
            return f"ESCAPED {error!r}"
        return "read"

    def tried(originals: Mapping[str, Mapping[str, bytes]], look: Callable[[Path], Any], few: int) -> Counter[str]:
        """Of each form its files, of which the first is looked at."""
        found, wrong, before = Counter[str](), list[str](), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(first, first + (cases or few)):
            chance, folder = random.Random(seed), tmp_path / "mutants"
            folder.mkdir()
            files = originals[chance.choice(sorted(originals))]
            hurt = chance.choice(list(files))
            for name, data in files.items():
                (folder / name).write_bytes(_mutated(data, chance) if name == hurt or chance.random() < 0.1 else data)
            faulthandler.dump_traceback_later(TIMEOUT, exit=True)
            said = verdict(folder / next(iter(files)), look)
            faulthandler.cancel_dump_traceback_later()
            found[said.split()[0]] += 1
            wrong += [f"seed {seed}, {hurt}: {said[:500]}"] if said not in ("read", "refused") else []
            shutil.rmtree(folder)
        assert not wrong, "\n".join(wrong[:50])
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
        return found

    return tried
