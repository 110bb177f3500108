"""Workers as jobs of a batch scheduler, on dask-jobqueue: its classes with options filled in, and a watchdog."""

from __future__ import annotations

import math
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsi_dask.cluster.addresses import LOOPBACK, bind, dashboard_address
from hsi_dask.cluster.config import ClusterConfig, JobOptions, bytes_of
from hsi_dask.cluster.credentials import credentials
from hsi_dask.cluster.interrupts import sigint_blocked
from hsi_dask.cluster.options import REFUSALS, batch_settings, reason, require_known, worker_environment
from hsi_dask.cluster.private_files import LOG_FOLDER, private_folder, shared_folder
from hsi_dask.cluster.queue import scheduler_message
from hsi_dask.cluster.watchdog import Watchdog
from hsi_dask.errors import ClusterError, ConfigError
from hsi_dask.yaml_text import shortened

if TYPE_CHECKING:
    from distributed import Client

CLASSES = {"slurm": "SLURM", "pbs": "PBS", "lsf": "LSF", "sge": "SGE", "htcondor": "HTCondor"}
# Batch schedulers kill at what was asked for, and dask's nanny at its own limit, which it notices too late: Python, the
# nanny and the shell of the job come on top of what the worker may use
_HEADROOM, _HEADROOM_PROCESS = 1.1, 200 * 2**20
# Options of the cluster, not of a job
_OF_CLUSTER = ("security", "shared_temp_directory", "scheduler_options", "silence_logs", "scheduler_cls", "name")


def arguments(config: ClusterConfig, *, driver: bool = False) -> dict[str, Any]:
    """Of the scheduler's dask-jobqueue class: the options of the file, and what they leave out."""
    job = config.job_options(driver=driver)
    options = config.options | (config.driver if driver else {})
    folder = str(Path(job.log_directory or LOG_FOLDER).absolute())
    if re.search(r"\s", folder):
        raise ConfigError(f"options.log_directory is {folder!r}; job scripts need one without spaces")
    environment = [f"export {name}={value}" for name, value in worker_environment().items()]
    defaults = {"job_name": "hsi-dask", "shared_temp_directory": folder, "death_timeout": job.death_timeout}
    return (
        defaults
        | _memory(config.kind, job)
        | options
        | {
            "job_extra_directives": _directives(config.kind, job, driver),
            "processes": job.processes,  # without it dask-jobqueue guesses a number that the plan does not know
            "log_directory": folder,
            "job_script_prologue": environment + job.job_script_prologue,
            "scheduler_options": _scheduler_options(job),
            "worker_extra_args": [
                *("--preload", "hsi_dask.cluster.worker", "--dashboard-address", LOOPBACK),
                *job.worker_extra_args,
            ],
        }
    )


def _memory(kind: str, job: JobOptions) -> dict[str, Any]:
    """The memory that a job asks its scheduler for."""
    total = _job_memory(job)
    mebibytes = math.ceil(total / 2**20)
    if kind == "slurm":
        return {"job_mem": f"{mebibytes}M"}
    if kind == "pbs":
        return {"resource_spec": f"select=1:ncpus={job.cores}:mem={mebibytes}mb"}
    if kind == "lsf":
        return {"mem": total}
    return {}  # HTCondor's is a directive, and for Grid Engine each site has a name of its own


def _job_memory(job: JobOptions) -> int:
    return math.ceil(job.memory_bytes * _HEADROOM) + _HEADROOM_PROCESS * job.processes


def _directives(kind: str, job: JobOptions, driver: bool) -> Any:
    """Lines for the head of the job script, or HTCondor's mapping."""
    directives = job.job_extra_directives
    if kind == "htcondor":
        if directives and isinstance(directives, list):
            raise ConfigError("options.job_extra_directives must be a mapping with kind htcondor")
        own: dict[str, Any] = {"MY.DaskWorkerMemory": _job_memory(job)}
        return own | directives if isinstance(directives, dict) else own
    if isinstance(directives, dict):
        raise ConfigError(f"options.job_extra_directives must be a list of lines with kind {kind}")
    lines = list(directives)
    if kind == "slurm" and not driver:
        # Slurm would restart a lost node's job under its old number, after two minutes; the watchdog is quicker
        return ["--no-requeue", *lines]
    if kind == "sge" and not any(line.split()[:1] == ["-S"] for line in lines):
        # a script runs in the queue's shell, by default csh, whatever its first line says
        return ["-S /bin/bash", *lines]
    return lines


def _scheduler_options(job: JobOptions) -> dict[str, Any]:
    """The dashboard is off unless an address is set for it."""
    options = job.scheduler_options
    address = dashboard_address(options.get("dashboard_address", LOOPBACK), "options.scheduler_options")
    return {"dashboard": "dashboard_address" in options} | options | {"dashboard_address": address}


def make_job(config: ClusterConfig, *, driver: bool = False) -> Any:
    """A dask-jobqueue Job with these options, not submitted: its script and header can be looked at.

    Raises
    ------
    ConfigError
        An option that the class does not know, or a value that it refuses.
    """
    options = arguments(config, driver=driver)
    cls = _cluster_class(config.kind)
    require_known(options, (*_signatures(cls),), "driver" if driver else "options")
    if config.kind == "htcondor":
        _require_disk(options.get("disk"), "driver" if driver and "disk" in config.driver else "options")
    for name in _OF_CLUSTER:
        options.pop(name, None)
    private_folder(options["log_directory"], "options.log_directory")  # the class would make it readable for everybody
    try:
        return _job_class(cls.job_cls)("tls://SCHEDULER:8786", name="hsi-dask-0", **options)
    except REFUSALS as error:
        raise ConfigError(
            f"the jobs of kind {config.kind} cannot be had with these options: {reason(error)}"
        ) from error


def _require_disk(disk: Any, section: str) -> None:
    """Refuse a disk of HTCondor's jobs that is none, or none of words such as 2GiB."""
    try:
        if isinstance(disk, bool) or not isinstance(disk, str | int):
            raise ValueError
        bytes_of(disk)
    except ValueError:
        said = "missing" if disk is None else shortened(disk)
        raise ConfigError(f"{section}.disk is {said}; it must be the disk of a job, such as 2GiB") from None


def _signatures(cls: Any) -> tuple[type, ...]:
    from dask_jobqueue.core import Job, JobQueueCluster

    return cls.job_cls, Job, JobQueueCluster


def _cluster_class(kind: str) -> Any:
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ClusterError(
            f"kind {kind} needs dask-jobqueue ({error}); pip install dask-jobqueue cryptography"
        ) from error
    finally:  # its import makes Ctrl-C end the process at once, jobs or not
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
    return getattr(dask_jobqueue, f"{CLASSES[kind]}Cluster")


def _job_class(job_class: Any) -> Any:
    """The job class with two changes: its script cannot be replaced by others, and a refusal is kept.

    dask-jobqueue creates the script under a name in the shared temporary folder that others could make first, and it
    loses the scheduler's message when a job is refused, and then fails to close.
    """
    from distributed.core import Status

    class WorkerJob(job_class):  # type: ignore[misc]
        refusal = ""

        @contextmanager
        def job_file(self) -> Iterator[str]:
            with tempfile.NamedTemporaryFile("w", prefix="hsi-dask-", suffix=".sh") as file:
                file.write(self.job_script())
                file.flush()
                yield file.name

        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as error:
                self.refusal = scheduler_message(str(error))
                self.status = Status.running

    return WorkerJob


@contextmanager
def worker_jobs(config: ClusterConfig) -> Iterator[Client]:
    """A client to workers in jobs, which are watched; see `connect`."""
    import dask
    from distributed import Client

    command = make_job(config).submit_command.split()[0]
    if shutil.which(command) is None:
        raise ClusterError(f"{command} is not on this machine; run on a login node of the {config.kind} cluster")
    options = arguments(config)
    settings = batch_settings(dashboard=options["scheduler_options"]["dashboard"])
    with dask.config.set(settings), _cluster(config, options) as cluster, Client(cluster) as client:
        watchdog = Watchdog(config, cluster, client, options["log_directory"])
        watchdog.start()
        try:
            watchdog.await_workers()
            yield client
        except Exception as error:
            if watchdog.failure not in (None, error):  # the client was closed for it, which causes many other errors
                raise watchdog.failure from error
            raise
        finally:
            watchdog.stop()


@contextmanager
def _cluster(config: ClusterConfig, options: dict[str, Any]) -> Iterator[Any]:
    """The cluster, with a scheduler in this process and no job yet.

    Its commands and threads ignore Ctrl-C, so that its jobs can be cancelled in order.
    """
    shared = shared_folder(options["shared_temp_directory"], "options.shared_temp_directory")
    bind(options)
    with credentials(config.job_options().security, shared) as security:
        with sigint_blocked():
            cluster = _start_cluster(_cluster_class(config.kind), options | {"security": security})
        try:
            yield cluster
        finally:
            with sigint_blocked():
                cluster.close()


def _start_cluster(cls: Any, options: dict[str, Any]) -> Any:
    try:
        return cls(job_cls=_job_class(cls.job_cls), silence_logs="error", **options)
    except REFUSALS as error:
        raise ConfigError(f"no scheduler starts with these options: {reason(error)}") from error
