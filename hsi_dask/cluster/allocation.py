"""Workers in one Slurm allocation: `srun hsi-dask run ...` starts the same command in every task.

Task 0 drives the run and holds the scheduler. Every other task becomes a worker with a nanny: its process is replaced
by dask's. The tasks find each other through a folder on a file system that all nodes share.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hsi_dask.cluster.addresses import LOOPBACK, dashboard_address, scheduler_host
from hsi_dask.cluster.config import AllocationOptions, ClusterConfig
from hsi_dask.cluster.credentials import AUTHORITY, CERTIFICATE, KEY, write_security
from hsi_dask.cluster.options import REFUSALS, batch_settings, reason, worker_environment
from hsi_dask.cluster.private_files import LOG_FOLDER, is_private, private_folder, shared_folder
from hsi_dask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, Security

_SCHEDULER_FILE = "scheduler.json"
_HEADROOM = 0.85  # of a task's memory is the worker's; the rest is for Python, the nanny and the shell
_POLL = (0.2, 2.0)  # seconds between looks for task 0's folder, at first and later: scratch may be large and busy


@contextmanager
def allocated_workers(config: ClusterConfig) -> Iterator[Client]:
    """A client in task 0; in every other task this does not return."""
    options = config.allocation_options()
    try:
        rank, tasks = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    except KeyError as error:
        raise ClusterError("kind slurm-allocation is for inside a Slurm job: srun hsi-dask run ...") from error
    if tasks < 2:
        raise ClusterError("a job with one task has no place for workers; give srun --ntasks 2 or more")
    shared = shared_folder(options.shared_temp_directory, "options.shared_temp_directory").absolute()
    if rank:
        _become_worker(_await_scheduler(shared, config.wait), options)
    with _rendezvous(shared) as folder, _scheduler(folder, options) as client:
        yield client


# ------------------------------------------------------------------------------------------------ rendezvous


def _prefix() -> str:
    """What the folder's name begins with: the same in all tasks of this step, another one when the job starts again."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
    return f".hsi-dask-{'-'.join(os.environ.get(name, '0') for name in names)}-"


def _private_folders(shared: Path) -> list[Path]:
    """Folders of this step that only this user can write to, the newest first.

    Their names end at random. Another user may make a folder of such a name, but not one that counts.
    """
    found: dict[Path, float] = {}
    for entry in os.scandir(shared):
        if entry.name.startswith(_prefix()) and is_private(entry):
            with suppress(OSError):  # removed meanwhile
                found[Path(entry.path)] = entry.stat(follow_symlinks=False).st_mtime
    return sorted(found, key=found.__getitem__, reverse=True)


@contextmanager
def _rendezvous(shared: Path) -> Iterator[Path]:
    """The folder in which task 0 publishes scheduler and credentials."""
    for left_behind in _private_folders(shared):  # by a Slurm that counted its jobs from the same number
        shutil.rmtree(left_behind, ignore_errors=True)
    try:
        folder = tempfile.mkdtemp(prefix=_prefix(), dir=shared)
    except OSError as error:
        raise ConfigError(
            f"{shared} cannot be written ({error.strerror}); set options.shared_temp_directory"
        ) from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await_scheduler(shared: Path, wait: float) -> Path:
    """Task 0's folder, once it has published its scheduler."""
    end, pause = time.monotonic() + wait, _POLL[0]
    while time.monotonic() < end:
        for folder in _private_folders(shared):
            if (folder / _SCHEDULER_FILE).is_file():
                return folder
        time.sleep(pause)
        pause = min(1.2 * pause, _POLL[1])
    raise ClusterError(f"task 0 has not started a scheduler in {shared} after {wait:g} s; see its output")


@contextmanager
def _scheduler(folder: Path, options: AllocationOptions) -> Iterator[Client]:
    """A client to a scheduler in this process, which other tasks find in the folder."""
    import dask
    from distributed import Client

    settings = batch_settings(dashboard="dashboard_address" in options.scheduler_options)
    security = write_security(folder) if options.security else None
    with dask.config.set(settings), _start_scheduler(options, security) as cluster, Client(cluster) as client:
        client.write_scheduler_file(str(folder / "new"))
        os.replace(folder / "new", folder / _SCHEDULER_FILE)  # last: whoever finds it finds everything else
        yield client


def _start_scheduler(options: AllocationOptions, security: Security | None) -> LocalCluster:
    from distributed import LocalCluster

    more = dict(options.scheduler_options)
    address = dashboard_address(more.get("dashboard_address", LOOPBACK), "options.scheduler_options")
    dashboard = {"dashboard": "dashboard_address" in more, "dashboard_address": address}
    try:
        place = {"interface": options.interface} if options.interface else {"host": scheduler_host(more)}
        if not options.interface:
            more = {key: value for key, value in more.items() if key not in ("host", "interface")}
        return LocalCluster(
            n_workers=0, dashboard_address=None, security=security, protocol="tls://" if security else "tcp://",
            scheduler_kwargs=more | dashboard, silence_logs="error", **place,
        )  # fmt: skip
    except REFUSALS as error:
        raise ConfigError(f"no scheduler starts with these options: {reason(error)}") from error


# ------------------------------------------------------------------------------------------------ workers


def _become_worker(folder: Path, options: AllocationOptions) -> NoReturn:
    """Replace this process by a dask worker; it connects to task 0's scheduler."""
    words = [
        "--scheduler-file",
        str(folder / _SCHEDULER_FILE),
        "--nthreads",
        os.environ.get("SLURM_CPUS_PER_TASK", "1"),
    ]
    words += ["--memory-limit", str(options.memory_limit or _memory_limit(os.environ))]
    words += ["--death-timeout", "60", "--dashboard-address", LOOPBACK, "--preload", "hsi_dask.cluster.worker"]
    words += ["--local-directory", options.local_directory] if options.local_directory else []
    words += ["--interface", options.interface] if options.interface else ["--host", _own_address(folder)]
    if options.security:  # with these a worker connects to no scheduler without TLS
        words += ["--tls-ca-file", str(folder / AUTHORITY), "--tls-cert", str(folder / CERTIFICATE)]
        words += ["--tls-key", str(folder / KEY)]
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # the warning before the wall time is for task 0
        signal.signal(number, signal.SIG_IGN)
    _log_to(private_folder(Path(options.log_directory or LOG_FOLDER).absolute(), "options.log_directory"))
    command = [sys.executable, "-m", "distributed.cli.dask_worker", *words]
    os.execve(sys.executable, command, os.environ | worker_environment())


def _log_to(folder: Path) -> None:
    """Send a worker's output to a file of its own; the job's output is the run's."""
    path = folder / f"worker-{os.environ.get('SLURM_JOB_ID', '0')}-{os.environ['SLURM_PROCID']}.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    sys.stdout.flush()
    for standard in (1, 2):
        os.dup2(log, standard)


def _own_address(folder: Path) -> str:
    """The address by which this node reaches the scheduler."""
    from distributed.utils import get_ip

    address = json.loads((folder / _SCHEDULER_FILE).read_text(encoding="utf-8"))["address"]
    return str(get_ip(re.sub(r"^\w+://|:\d+$", "", address)))


def _memory_limit(environment: Mapping[str, str]) -> int:
    """Bytes for a task's worker: what Slurm granted, or this task's share of what the node lets the job have."""
    if per_cpu := environment.get("SLURM_MEM_PER_CPU"):
        total = float(per_cpu) * int(environment.get("SLURM_CPUS_PER_TASK", 1)) * 2**20
    else:
        from distributed.system import MEMORY_LIMIT

        total = MEMORY_LIMIT / _tasks_on_node(environment)
    return math.floor(total * _HEADROOM)


def _tasks_on_node(environment: Mapping[str, str]) -> int:
    """How many of the step's tasks are on this node.

    Examples
    --------
    >>> _tasks_on_node({"SLURM_STEP_TASKS_PER_NODE": "4(x2),3", "SLURM_NODEID": "2"})
    3
    """
    groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    counts = [int(tasks) for tasks, nodes in groups for _ in range(int(nodes or 1))]
    return counts[min(int(environment.get("SLURM_NODEID", 0)), len(counts) - 1)]
