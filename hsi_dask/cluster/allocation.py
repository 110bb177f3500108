"""Workers in one allocation: `srun hsi-dask run ...` starts the same command in every task.

Task 0 runs, and holds the scheduler; every other task becomes a worker with a nanny, by which time it is no longer this
program. They find each other through a folder that all nodes see.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsi_dask.cluster.config import ClusterConfig
from hsi_dask.cluster.credentials import AUTHORITY, CERTIFICATE, KEY, make_security
from hsi_dask.cluster.jobs import FOLDER, LOOPBACK, SETTINGS, bind
from hsi_dask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client

_KNOWN = (
    "interface",
    "local_directory",
    "log_directory",
    "memory_limit",
    "shared_temp_directory",
    "security",
    "scheduler_options",
)
_MEETING = "scheduler.json"
_HEADROOM = 0.85  # of a task's memory is the worker's; the rest is python, the nanny and the shell


@contextmanager
def allocated(config: ClusterConfig) -> Iterator[Client]:
    """A client in task 0; in every other task this does not return."""
    if unknown := sorted(set(config.options) - set(_KNOWN)):
        raise ConfigError(f"unknown key options.{unknown[0]}; known keys are {', '.join(_KNOWN)}")
    try:
        rank, tasks = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    except KeyError as error:
        raise ClusterError("kind slurm-allocation is for inside a Slurm job: srun hsi-dask run ...") from error
    if tasks < 2:
        raise ClusterError("a job with one task has no place for workers; give srun --ntasks 2 or more")
    folder = _folder(config.options)
    if rank:
        _become_worker(folder, config)
    folder.mkdir(mode=0o700, parents=True)
    try:
        with _scheduler(folder, config.options) as client:
            yield client
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(options: dict[str, Any]) -> Path:
    """Where the tasks of this very step meet: not those of an earlier start of the same job."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
    step = "-".join(os.environ.get(name, "0") for name in names)
    return Path(options.get("shared_temp_directory", ".")).absolute() / f".hsi-dask-{step}"


@contextmanager
def _scheduler(folder: Path, options: dict[str, Any]) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    security = make_security(folder) if options.get("security", True) else None
    place: dict[str, Any] = {"worker_extra_args": [], "scheduler_options": dict(options.get("scheduler_options", {}))}
    place |= {"interface": options.get("interface")}
    bind(place)
    scheduler = {"dashboard_address": LOOPBACK} | place["scheduler_options"]
    at = {"interface": options["interface"]} if options.get("interface") else {"host": scheduler.pop("host", None)}
    protocol = "tls://" if security else "tcp://"
    with (
        dask.config.set(SETTINGS),
        LocalCluster(n_workers=0, dashboard_address=None, security=security, protocol=protocol,
                     scheduler_kwargs=scheduler, silence_logs="error", **at) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        client.write_scheduler_file(str(folder / "new"))
        os.replace(folder / "new", folder / _MEETING)  # last: who sees it finds the rest
        yield client


def _become_worker(folder: Path, config: ClusterConfig) -> None:
    end = time.monotonic() + config.wait
    while not (folder / _MEETING).is_file():
        if time.monotonic() > end:
            raise ClusterError(
                f"task 0 has not started a scheduler in {folder} after {config.wait:g} s; see its output"
            )
        time.sleep(0.2)
    options = config.options
    words = ["--scheduler-file", str(folder / _MEETING), "--nthreads", os.environ.get("SLURM_CPUS_PER_TASK", "1")]
    words += ["--memory-limit", str(options.get("memory_limit") or _memory_limit(os.environ))]
    words += ["--death-timeout", "60", "--dashboard-address", LOOPBACK, "--preload", "hsi_dask.cluster.worker"]
    if options.get("local_directory"):
        words += ["--local-directory", options["local_directory"]]
    words += ["--interface", options["interface"]] if options.get("interface") else ["--host", _own_address(folder)]
    if (folder / KEY).is_file():
        words += ["--tls-ca-file", str(folder / AUTHORITY), "--tls-cert", str(folder / CERTIFICATE)]
        words += ["--tls-key", str(folder / KEY)]
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # the warning before the wall time is for task 0
        signal.signal(number, signal.SIG_IGN)
    _log_to(Path(options.get("log_directory", FOLDER)))
    os.execv(sys.executable, [sys.executable, "-m", "distributed.cli.dask_worker", *words])


def _log_to(folder: Path) -> None:
    """What workers say goes to a file each; the job's own output is the run's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"worker-{os.environ.get('SLURM_JOB_ID', '0')}-{os.environ['SLURM_PROCID']}.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    for standard in (1, 2):
        os.dup2(log, standard)


def _own_address(folder: Path) -> str:
    import json

    from distributed.utils import get_ip

    address = json.loads((folder / _MEETING).read_text(encoding="utf-8"))["address"]
    return str(get_ip(re.sub(r"^\w+://|:\d+$", "", address)))


def _memory_limit(environment: Mapping[str, str]) -> int:
    """Bytes for a task's worker: what Slurm granted, or this task's share of what the node lets the job have."""
    if per_cpu := environment.get("SLURM_MEM_PER_CPU"):
        total = float(per_cpu) * int(environment.get("SLURM_CPUS_PER_TASK", 1)) * 2**20
    else:
        from distributed.system import MEMORY_LIMIT

        total = MEMORY_LIMIT / _tasks_here(environment)
    return math.floor(total * _HEADROOM)


def _tasks_here(environment: Mapping[str, str]) -> int:
    """Of the step's tasks, those on this node.

    Examples
    --------
    >>> _tasks_here({"SLURM_STEP_TASKS_PER_NODE": "4(x2),3", "SLURM_NODEID": "2"})
    3
    """
    told = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    counts = [int(tasks) for tasks, times in told for _ in range(int(times or 1))]
    return counts[min(int(environment.get("SLURM_NODEID", 0)), len(counts) - 1)]
