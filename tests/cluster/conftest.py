"""A site of twelve tiles, the run that nothing disturbed, and command lines as processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.verify import verify
from hsi_dask.config import RunConfig
from hsi_dask.synthetic import Site, neon_wavelengths, simulate_site

CONFIGS = Path(__file__).parents[2] / "cluster_configs"
# Loaded by workers: until the harm is done tiles take as long as large ones, so that a run has a middle
SLOW = """
import os, time
from hsi_dask.io import endmember_store, store
def slowly(path, plain=getattr(store, "plain", endmember_store.read_endmembers)):
    if not os.path.exists({harmed!r}):
        time.sleep({seconds})
    return plain(path)
store.plain = getattr(store, "plain", endmember_store.read_endmembers)
endmember_store.read_endmembers = slowly
"""


@pytest.fixture
def slow(tmp_path: Path) -> Callable[[float], str]:
    """Writes what makes each tile take so many seconds more until `hurry`; the file for a worker's --preload."""

    def write(seconds: float) -> str:
        path = tmp_path / "slow.py"
        path.write_text(SLOW.format(seconds=seconds, harmed=str(tmp_path / "harmed")))
        return str(path)

    return write


@pytest.fixture
def hurry(tmp_path: Path) -> Callable[[], None]:
    """Ends what `slow` does: the harm is done, and the rest of the run need not be waited for."""
    return (tmp_path / "harmed").touch


@pytest.fixture
def small_file(tmp_path: Path, slow: Callable[[float], str]) -> Callable[..., Path]:
    """Writes the project's own cluster file of a kind, for small worker jobs and with these options changed."""

    def write(kind: str, seconds: float = 0, **changes: Any) -> Path:
        config = yaml.safe_load((CONFIGS / f"{kind}.yaml").read_text())
        top = {"jobs": 2, "wait": 60} | {key: changes.pop(key) for key in ("wait", "driver") if key in changes}
        options = config["options"] | {"cores": 1, "memory": "700MiB", "walltime": "00:10:00"} | changes
        if seconds:
            options["worker_extra_args"] = ["--preload", slow(seconds)]
        path = tmp_path / f"cluster{len(list(tmp_path.glob('cluster*')))}.yaml"
        path.write_text(yaml.safe_dump(config | top | {"options": options}))
        return path

    return write


def run_of(site: Site, cluster_file: Any, out: str = "run") -> tuple[Any, ...]:
    """The words of a run of the site on a cluster. Without a report, which is the same work on each of them."""
    return ("run", site.folder, "--out", out, "--count", "3", "--cluster", cluster_file, "--no-report")


def await_that(condition: Callable[[], Any], seconds: float = 180.0) -> Any:
    end = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s"
        time.sleep(0.05)
    return met


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    return simulate_site(folder, tiles=(3, 4), size=40, wavelength=neon_wavelengths(100, step=20.0), no_data=0.1)


@pytest.fixture(scope="session")
def undisturbed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a local run that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    run(RunConfig(tiles=[str(site.folder)], endmembers={"count": 3}), run_dir)
    return run_dir


class Command:
    """A command line in a process of its own, in this folder."""

    def __init__(self, folder: Path, words: list[str], before: list[str]) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "hsi_dask", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self, code: int, seconds: float = 240.0) -> tuple[str, str]:
        out, said = self.process.communicate(timeout=seconds)
        assert self.process.returncode == code, out + said
        assert "Traceback" not in said, said
        return out, said


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    started = []

    def start(*words: Any, before: tuple[str, ...] = ()) -> Command:
        started.append(Command(tmp_path, [str(word) for word in words], list(before)))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def assert_whole(undisturbed: Path) -> Callable[[Path], None]:
    """Every file of the stores is that of the undisturbed run, and verify finds nothing."""

    def stores(run_dir: Path) -> dict[str, bytes]:
        folders = (run_dir / "results.zarr", run_dir / "endmembers.zarr")
        return {str(p.relative_to(run_dir)): p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()}

    def check(run_dir: Path) -> None:
        assert len(list((run_dir / "records").iterdir())) == 12
        assert stores(run_dir) == stores(undisturbed)
        assert verify(run_dir) == []

    return check


@pytest.fixture
def records(tmp_path: Path) -> Callable[[], int]:
    """How many tiles of the run in `tmp_path / "run"` are done."""
    folder = tmp_path / "run/records"
    return lambda: len(list(folder.glob("*.json"))) if folder.is_dir() else 0
