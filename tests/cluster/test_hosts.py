"""Three hosts, each a network namespace with an address of its own, on a network that reaches nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsi_dask.synthetic import Site

from .conftest import run_of

# How long silence may last before a host counts as gone; 30 s unless set
IMPATIENT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}


class Hosts:
    """A switch and hosts on it; `into(i)` is what puts a command there."""

    def __init__(self, count: int) -> None:
        self.names = [f"hsi{os.getpid()}h{n}" for n in range(count)]
        self.switch = f"hsi{os.getpid()}sw"

    def build(self) -> None:
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for n, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{n}", "netns", self.switch)
            ip("-n", self.switch, "link", "set", f"p{n}", "master", "br0", "up")
            ip("-n", name, "addr", "add", f"{self.address(n)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def remove(self) -> None:
        for name in (*self.names, self.switch):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def address(self, n: int) -> str:
        return f"10.87.0.{10 + n}"

    def into(self, n: int) -> tuple[str, ...]:
        return "nsenter", f"--net=/run/netns/{self.names[n]}"

    def cut(self, n: int) -> None:
        """Pull the cable at the switch: packets vanish, nobody is told."""
        ip("-n", self.switch, "link", "set", f"p{n}", "down")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and the command ip (Debian's iproute2)")
    built = Hosts(3)
    try:
        built.build()
    except subprocess.CalledProcessError as error:
        built.remove()
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
    yield built
    built.remove()


@pytest.fixture
def cluster(hosts: Hosts, tmp_path: Path, slow: Callable[[float], str]) -> Iterator[str]:
    """The address of a scheduler on the first host; a worker on each of the others."""
    address = f"tcp://{hosts.address(0)}:8786"
    quiet = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    commands = [(0, ["scheduler", "--host", hosts.address(0), "--port", "8786"])]
    worker = ["--nthreads", "1", "--memory-limit", "1GiB", "--preload", slow(1)]
    commands += [(n, ["worker", address, "--host", hosts.address(n), *worker]) for n in (1, 2)]
    started: list[subprocess.Popen[bytes]] = []
    for n, words in commands:
        command = [*hosts.into(n), sys.executable, "-m", "dask", *words, *quiet]
        log = (tmp_path / f"host{n}.log").open("wb")
        with log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | IMPATIENT, cwd=tmp_path)
        started.append(process)
    yield address
    for process in started:  # the one that was cut off would not hear of an orderly end
        process.kill()
        process.wait()


def test_a_host_that_is_cut_off_in_mid_run_costs_time_and_nothing_else(
    hosts: Hosts,
    cluster: str,
    site: Site,
    command: Callable[..., Any],
    tmp_path: Path,
    records: Callable[[], int],
    hurry: Callable[[], None],
    assert_whole: Callable[[Path], None],
) -> None:
    (tmp_path / "cluster.yaml").write_text(f"kind: scheduler\nwait: 30\noptions: {{address: '{cluster}'}}\n")
    words = run_of(site, "cluster.yaml")
    running = command(*words, before=hosts.into(0))
    end = time.monotonic() + 60
    while records() < 3:
        assert time.monotonic() < end, running.process.poll()
        time.sleep(0.05)
    hosts.cut(2)
    hurry()
    out, _ = running.ends(0, seconds=120)
    assert "12 of 12 tiles done" in out
    assert_whole(tmp_path / "run")
