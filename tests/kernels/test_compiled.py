"""Where machine code is kept and what happens where it cannot be: numba's own counts of hits and misses tell."""

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.kernels import fcls as fcls_module
from hsi_dask.kernels import nearest as nearest_module
from hsi_dask.kernels import residual as residual_module
from hsi_dask.kernels import sam as sam_module
from hsi_dask.kernels.compiled import CompileClock, as_input, compiled, compiling_ahead, inlined, inner
from hsi_dask.kernels.warm import warm

KERNEL = """
from hsi_dask.kernels.compiled import compiled

@compiled()
def total(values):
    total = 0.0
    for i in range(values.size):
        total += values[i]
    return total
"""
PROCESS = """
import json, logging, sys
import numpy as np
logging.basicConfig(level="INFO")
from kernel import total
print(json.dumps([total(np.ones(3, sys.argv[1])), sum(total.stats.cache_hits.values())]))
"""


@pytest.fixture
def package(tmp_path):
    """A module with one kernel, beside which nothing can be written."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "kernel.py").write_text(KERNEL)
    (folder / "__pycache__").write_text("a file where a folder should be, so that root cannot write either")
    (tmp_path / "temporary").mkdir()
    return folder


def start(package, dtype="f8", before="", **environment):
    """A process without a home that calls the kernel."""
    kept = {k: v for k, v in os.environ.items() if k not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}}
    root = str(Path(hsi.__file__).parents[1])
    nowhere = {"HOME": "/proc/nowhere", "TMPDIR": str(package.parent / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", before + PROCESS, dtype],
        env=kept | nowhere | {"PYTHONPATH": f"{package}:{root}"} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def call(*arguments, **environment):
    """The kernel's answer, cache hits, and what was logged."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    answer, hits = map(float, re.findall(r"[\d.]+", out))
    return answer, hits, err


def private(package):
    return package.parent / f"temporary/hsi-dask-numba-{os.getuid()}"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_where_no_folder_can_be_written_a_private_one_keeps_the_machine_code(package):
    answer, hits, logged = call(package)
    assert (answer, hits) == (3, 0)
    assert logged.startswith("WARNING")
    assert "NUMBA_CACHE_DIR" in logged
    assert stat.S_IMODE(private(package).stat().st_mode) == 0o700
    assert call(package) == (3, 1, "")


def test_who_waits_at_a_prompt_or_in_a_notebook_is_told_why(package):
    prompt = "import sys\nsys.ps1 = '>>> '\n"
    told = "compiling (once for this machine)"
    assert [call(package, "f8", before)[2].count(told) for before in (prompt, prompt)] == [1, 0]
    assert call(package, "f4")[2].count(told) == 0


@pytest.mark.parametrize("planted", ["open to others", "link", "file"])
def test_a_folder_that_is_not_ones_own_is_never_used(package, planted):
    theirs = package.parent / "theirs"
    theirs.mkdir()
    match planted:
        case "open to others":
            private(package).mkdir(mode=0o755)
        case "link":
            private(package).symlink_to(theirs)
        case "file":
            private(package).write_text("")
    answer, hits, logged = call(package)
    assert (answer, hits) == (3, 0)
    assert logged.count("set NUMBA_CACHE_DIR to a folder") == 1
    assert files(theirs) == []
    assert [f for f in files(package.parent / "temporary") if f.suffix == ".nbc"] == []


def test_a_full_disk_costs_a_warning(package):
    full = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    answer, _, logged = call(package, "f8", full)
    assert answer == 3
    assert "compiled kernels cannot be kept" in logged
    assert files(package.parent / "temporary") == []


def test_machine_code_that_is_torn_is_compiled_again(package):
    call(package)
    (kept,) = files(private(package))
    kept.write_bytes(kept.read_bytes()[:1000])
    assert call(package)[:2] == (3, 0)
    assert call(package)[:2] == (3, 1)


def test_what_was_compiled_ahead_beside_the_source_is_used_by_those_who_write_elsewhere(package, tmp_path):
    (package / "__pycache__").unlink()
    call(package)
    assert len(files(package / "__pycache__")) == 1
    assert call(package, NUMBA_CACHE_DIR=str(tmp_path / "mine"))[:2] == (3, 1)
    assert files(tmp_path / "mine") == []


def test_another_source_is_compiled_again_and_replaces_the_old(package):
    call(package)
    before = files(private(package))
    (package / "kernel.py").write_text(KERNEL.replace("0.0", "1.0"))
    assert call(package)[:2] == (4, 0)
    assert len(files(private(package))) == 1
    assert files(private(package)) != before


def test_processes_that_compile_at_once_do_not_take_each_others_machine_code(package):
    dtypes = ["f8", "f4", "i4", "u1"]
    for process in [start(package, dtype) for dtype in dtypes]:
        assert process.communicate(timeout=240)[0].startswith("[3")
    assert len(files(private(package))) == len(dtypes)
    assert [call(package, dtype)[:2] for dtype in dtypes] == [(3, 1)] * len(dtypes)


def test_the_clock_counts_compilation_in_any_thread_and_nothing_else():
    @inlined()
    def twice(x):
        return 2 * x

    @inner()
    def thrice(x):
        return 3 * x

    @compiled()
    def five_times(x):
        return twice(x) + thrice(x)

    clock = CompileClock()
    assert clock.seconds == 0
    thread = threading.Thread(target=five_times, args=(1.0,))
    thread.start()
    thread.join()
    spent = clock.seconds
    assert spent > 0
    assert not clock.running
    assert five_times(2.0) == 10
    assert clock.seconds == spent


def test_compiling_ahead_leaves_the_garbage_collector_as_it_was():
    import gc

    assert gc.isenabled()
    with compiling_ahead():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_arrays_of_any_layout_are_one_kind():
    grid = np.arange(24.0).reshape(4, 6)
    kinds = [as_input(a) for a in (grid, grid.T, grid[::2], np.broadcast_to(1.0, (2, 2)), grid.astype("f4"))]
    assert {(a.flags.c_contiguous, a.flags.writeable) for a in kinds} == {(True, False)}
    assert grid.flags.writeable
    energy, vertices = (grid**2).sum(axis=0), np.eye(4)
    for own in (grid, np.asfortranarray(grid)):
        for brightness in (energy, np.repeat(energy, 2)[::2], as_input(energy)):
            sam_module.angles(own, brightness, vertices)
            residual_module.residual(own, brightness, np.asfortranarray(vertices), fcls_module.fcls(own, vertices), 9)
            nearest_module.nearest(own, np.broadcast_to(1.0, 4), 255)
    assert len(sam_module._angles.signatures) == len(residual_module._residual.signatures) == 1


def test_after_warming_a_default_run_compiles_nothing():
    warm(counts=(3,))
    clock = CompileClock()
    spectra = np.random.default_rng(0).uniform(0.1, 0.9, (3, 7))
    wavelength = {"wavelength": np.linspace(400, 2500, 7)}
    endmembers = xr.DataArray(spectra, wavelength, ("endmember", "wavelength"))
    stored = np.random.default_rng(1).integers(1, 9000, (4, 5, 7)).astype("int16")
    attrs = {"scale_factor": 1e-4, "_FillValue": -9999}
    cube = xr.DataArray(stored, {"y": range(4), "x": range(5), **wavelength}, ("y", "x", "wavelength"), attrs=attrs)
    for lazy in (cube, cube.chunk(y=2, x=3)):
        hsi.map_materials(lazy, endmembers, thresholds={"sam": 0.3}).compute()
    hsi.find_endmembers(xr.DataArray(stored.reshape(20, 7) * np.float32(1e-4), wavelength, ("pixel", "wavelength")), 3)
    assert clock.seconds == 0


def test_every_kernel_is_compiled_by_these_decorators():
    kernels = Path(sam_module.__file__).parent
    own = {path.name for path in kernels.rglob("*.py") if re.search(r"\bn?jit\b", path.read_text(encoding="utf-8"))}
    assert own == {"compiled.py"}
