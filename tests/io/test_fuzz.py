"""Mutated files against the original: an HsiDaskError, or the original's numbers; never anything else.

What counts as silent success: bytes changed inside the stored chunks of the cube, and other numbers come out without
an error (zlib's adler32 stands against it). HDF5's own headers and NEON's attributes carry no checksum: a changed
scale or wavelength that is still plausible cannot be told from a true one, so there only the kind of error counts.

`HSI_DASK_FUZZ=10000 pytest tests/io/test_fuzz.py` tries so many files in processes of their own, where a crash or a
hang inside the HDF5 library is found and named. `python tests/io/test_fuzz.py FOLDER SEED SEED+1` shows a single one.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsi_dask.errors import HsiDaskError
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

REVISIONS = ("DP1.001-2016", "DP3.001", "DP3.002", "rewritten", "radiance", "flat-2013")
READABLE = REVISIONS[:4]
CASES = int(os.environ.get("HSI_DASK_FUZZ", "0"))
FIRST = int(os.environ.get("HSI_DASK_FUZZ_FIRST", "0"))  # seed
BATCH = 1000  # cases a process: it starts in 6 s, and a case takes 0.015 s
TIMEOUT = 150.0  # seconds, then it hangs, unless the machine stood still; an honest case takes 0.015
MEMORY = 6 * 2**30  # of a process: what a damaged header asks for must not get far


class Original(NamedTuple):
    """An undamaged file: its bytes, where the cube's chunks lie in it, and its numbers."""

    revision: str
    data: bytes
    chunks: tuple[tuple[int, int], ...]  # offset, size
    numbers: np.ndarray | None


class Mutant(NamedTuple):
    """A damaged file, and whether the damage is inside the cube's chunks alone."""

    data: bytes
    how: str
    in_chunks: bool


def original(revision: str, folder: Path) -> Original:
    scene = simulate_scene((24, 30), wavelength=neon_wavelengths(60, step=33.0), no_data=0.1)
    path = write_neon_tile(folder, scene, revision=revision)  # type: ignore[arg-type]
    if revision not in READABLE:
        return Original(revision, path.read_bytes(), (), None)
    file = read_metadata(path)
    with h5py.File(path) as opened:
        chunks: list[Any] = []
        opened[file.reflectance.name].id.chunk_iter(chunks.append)
    where = tuple((chunk.byte_offset, chunk.size) for chunk in chunks)
    return Original(revision, path.read_bytes(), where, file.reflectance[:])


def mutant(of: Original, seed: int) -> Mutant:
    """One to a few bytes flipped, overwritten, inserted or cut out; or the end cut off."""
    chance = random.Random(f"{of.revision}{seed}")
    data, in_chunks = bytearray(of.data), True
    how = chance.choices(("flip", "overwrite", "zero", "insert", "remove", "truncate"), (40, 25, 10, 8, 8, 9))[0]
    for _ in range(chance.choice((1, 1, 1, 2, 5, 20))):
        at, inside = _place(of, chance)
        in_chunks &= inside and how in ("flip", "overwrite", "zero")
        length = chance.choice((1, 1, 2, 4, 8, 64))
        if how == "flip":
            data[at] ^= 1 << chance.randrange(8)
        elif how == "overwrite":
            data[at : at + length] = chance.choice((b"\xff", b"\x7f", b"\x00", chance.randbytes(1))) * length
            in_chunks &= length == 1
        elif how == "zero":
            data[at : at + 512] = bytes(len(data[at : at + 512]))
            in_chunks = False
        elif how == "insert":
            data[at:at] = chance.randbytes(length)
        elif how == "remove":
            del data[at : at + length]
        else:
            del data[at:]
            break
    return Mutant(bytes(data), how, in_chunks)


def _place(of: Original, chance: random.Random) -> tuple[int, bool]:
    """Where to hurt, half of the times in a chunk of the cube, and whether it is in one."""
    if of.chunks and chance.random() < 0.5:
        offset, size = chance.choice(of.chunks)
        return offset + chance.randrange(size), True
    at = chance.randrange(len(of.data))
    return at, any(offset <= at < offset + size for offset, size in of.chunks)


def look(path: Path, of: Original, case: Mutant) -> str:
    """Everything the reader does with a file; what came of it. Raises what is not an HsiDaskError."""
    path.write_bytes(case.data)
    verdict = "read"
    try:
        file = read_metadata(path)
        numbers = file.reflectance[:]
        file.cube(masked=True).isel(y=slice(3, 9)).compute(scheduler="sync")
        for layer in filter(None, map(file.layer, file.layer_roles)):
            layer.by_role(slice(3, 9), slice(None))
        if of.numbers is None:
            verdict = "other file read"
        elif numbers.dtype != of.numbers.dtype or not np.array_equal(numbers, of.numbers):
            verdict = "SILENT" if case.in_chunks else "other numbers"
    except HsiDaskError:
        verdict = "refused"
    try:
        with xr.open_dataset(path, engine="neon") as dataset:
            dataset.load()
    except HsiDaskError:
        verdict = f"{verdict}, dataset refused" if verdict != "refused" else verdict
    return verdict


# ------------------------------------------------------------------------------------------------ in short


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Original]:
    return {revision: original(revision, tmp_path_factory.mktemp("fuzz")) for revision in REVISIONS}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_damaged_file_is_refused_in_a_sentence_or_read_as_it_was(
    revision: str, originals: dict[str, Original], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mutants") / "tile.h5"

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32))
    def holds(seed: int) -> None:
        assert look(path, originals[revision], mutant(originals[revision], seed)) != "SILENT"

    holds()


@pytest.mark.parametrize("revision", READABLE)
def test_no_changed_byte_of_a_stored_chunk_goes_unseen(
    revision: str, originals: dict[str, Original], tmp_path: Path
) -> None:
    of = originals[revision]
    chance = random.Random(revision)
    for _ in range(40):
        offset, size = chance.choice(of.chunks)
        data = bytearray(of.data)
        data[offset + chance.randrange(size)] ^= 1 << chance.randrange(8)
        assert look(tmp_path / "tile.h5", of, Mutant(bytes(data), "flip", True)) in ("refused", "read")


# ------------------------------------------------------------------------------------------------ at length


def report(folder: Path, seeds: range) -> Iterator[str]:
    """A line before each case, so that the one that kills the process has a name; then what came of it."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    files = {revision: original(revision, folder) for revision in REVISIONS}
    for seed in seeds:
        of = files[REVISIONS[seed % len(REVISIONS)]]
        case = mutant(of, seed)
        yield json.dumps({"seed": seed, "revision": of.revision, "how": case.how})
        started = time.monotonic()
        faulthandler.dump_traceback_later(TIMEOUT, exit=True)
        try:
            verdict = look(folder / "mutant.h5", of, case)
        except BaseException as error:  # it is what is looked for
            verdict = f"ESCAPED {type(error).__name__}: {str(error)[:200]}"
        faulthandler.cancel_dump_traceback_later()
        took = time.monotonic() - started
        yield json.dumps({"verdict": verdict, "in_chunks": case.in_chunks, "seconds": round(took, 2)})


def batch(first: int) -> tuple[Counter[str], list[str]]:
    """One process and its verdicts; after a crash or a hang another goes on behind the case that caused it."""
    verdicts, found, last = Counter[str](), list[str](), first + BATCH
    while first < last:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            words = [sys.executable, __file__, folder, str(first), str(last)]
            ended = subprocess.run(words, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        for case, what in zip(lines[::2], lines[1::2], strict=False):
            verdicts[what["verdict"].split(":")[0]] += 1
            if what["verdict"].split()[0] in ("ESCAPED", "SILENT"):
                found.append(f"{case} {what['verdict']}")
        done = len(lines) // 2
        if len(lines) % 2:
            kind = "HUNG" if "Timeout (" in ended.stderr else "CRASHED"
            verdicts[kind] += 1
            found.append(f"{lines[-1]} {kind}: exit code {ended.returncode}\n{ended.stderr[-1500:]}")
        elif ended.returncode:
            raise RuntimeError(f"the fuzzing process itself failed: {ended.stderr}")
        first += done + len(lines) % 2
    return verdicts, found


@pytest.mark.skipif(not CASES, reason="HSI_DASK_FUZZ is not set to a number of cases")
def test_many_damaged_files_in_processes_of_their_own() -> None:
    verdicts, found = Counter[str](), list[str]()
    with ThreadPoolExecutor(int(os.environ.get("HSI_DASK_FUZZ_PROCESSES", "1"))) as pool:
        for some, lines in pool.map(batch, range(FIRST, FIRST + CASES, BATCH)):
            verdicts += some
            found += lines
            sys.stderr.write(f"{sum(verdicts.values())} cases: {dict(verdicts)}\n")
    assert not found, "\n".join(found)


if __name__ == "__main__":
    for line in report(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3]))):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
