"""Workers as jobs of a batch scheduler, on dask-jobqueue: its classes with options filled in, and a watchdog."""

from __future__ import annotations

import math
import re
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsi_dask import __version__
from hsi_dask.cluster.config import ClusterConfig, JobOptions
from hsi_dask.cluster.connection import require_known, sheltered
from hsi_dask.cluster.credentials import credentials
from hsi_dask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client

CLASSES = {"slurm": "SLURM", "pbs": "PBS", "lsf": "LSF", "sge": "SGE", "htcondor": "HTCondor"}
EXPECTED = "HSI_DASK_EXPECTED"  # the driver's version, in the environment of its worker jobs
FOLDER = "hsi-dask-jobs"  # logs, and certificates while a run goes on
LOOPBACK = "127.0.0.1:0"  # dashboards: for this machine only, on any free port
# Batch schedulers kill at what was asked for, dask's nanny at its own limit, which it finds too late: python, the nanny
# and the shell of the job come on top of what the worker may use
_HEADROOM, _HEADROOM_PROCESS = 1.1, 200 * 2**20
# Of the cluster, not of a job
_OF_CLUSTER = ("security", "shared_temp_directory", "scheduler_options", "silence_logs", "scheduler_cls", "name")
_ENVIRONMENT = {
    "HDF5_USE_FILE_LOCKING": "FALSE",  # Lustre and NFS often have no locks, and tiles are only read
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",  # an hour of call trees: memory that grows with the run
    EXPECTED: __version__,
}
# Which of its addresses a node uses towards the driver; backquotes, for HTCondor has a meaning of its own for $(...)
_OWN_ADDRESS = (
    "`{python} -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    's.connect(("{host}", 9)); print(s.getsockname()[0])\'`'
)
SETTINGS = {
    "distributed.scheduler.no-workers-timeout": None,  # jobs may wait in the queue for longer; the watchdog counts
    "distributed.deploy.lost-worker-timeout": "60s",  # a nanny restarts a worker in less
}


def arguments(config: ClusterConfig, *, driver: bool = False) -> dict[str, Any]:
    """Of the scheduler's dask-jobqueue class: the options of the file, and what they leave out."""
    job = config.job_options(driver=driver)
    given = config.options | (config.driver if driver else {})
    folder = str(Path(job.log_directory or FOLDER).absolute())
    if re.search(r"\s", folder):
        raise ConfigError(f"options.log_directory is {folder!r}; job scripts need one without spaces")
    directives = job.job_extra_directives
    if config.kind == "slurm" and not driver and isinstance(directives, list):
        # of a lost node's job Slurm would make the same job again, after two minutes; the watchdog is quicker
        directives = ["--no-requeue", *directives]
    return (
        {"job_name": "hsi-dask", "shared_temp_directory": folder, "death_timeout": job.death_timeout}
        | _memory(config.kind, job)
        | given
        | {
            "job_extra_directives": directives,
            "processes": job.processes,  # left out, it would be guessed, and other parts would guess otherwise
            "log_directory": folder,
            "job_script_prologue": [f"export {k}={v}" for k, v in _ENVIRONMENT.items()] + job.job_script_prologue,
            "scheduler_options": {"dashboard_address": LOOPBACK} | job.scheduler_options,
            "worker_extra_args": [
                *("--preload", "hsi_dask.cluster.worker", "--dashboard-address", LOOPBACK),
                *job.worker_extra_args,
            ],
        }
        | _shell(config.kind, job)
    )


def _memory(kind: str, job: JobOptions) -> dict[str, Any]:
    """The memory that a job asks its scheduler for."""
    total = math.ceil(job.memory_bytes * _HEADROOM) + _HEADROOM_PROCESS * job.processes
    mebibytes = math.ceil(total / 2**20)
    if kind == "slurm":
        return {"job_mem": f"{mebibytes}M"}
    if kind == "pbs":
        return {"resource_spec": f"select=1:ncpus={job.cores}:mem={mebibytes}mb"}
    if kind == "lsf":
        return {"mem": total}
    return {}  # HTCondor's is a directive, and of Grid Engine every site calls it otherwise


def _shell(kind: str, job: JobOptions) -> dict[str, Any]:
    """Grid Engine runs a script in its queue's shell, by default csh, whatever the script's first line says."""
    lines = list(job.job_extra_directives)
    if kind != "sge" or any(line.split()[:1] == ["-S"] for line in lines):
        return {}
    return {"job_extra_directives": ["-S /bin/bash", *lines]}


def make_job(config: ClusterConfig, *, driver: bool = False, **more: Any) -> Any:
    """A dask-jobqueue Job with these options, not submitted: its script and header can be looked at.

    Raises
    ------
    ConfigError
        An option that the class does not know, or a value that it refuses.
    """
    options = arguments(config, driver=driver) | more
    cls = _cluster_class(config.kind)
    require_known(options, (*_signatures(cls),), "driver" if driver else "options")
    if config.kind == "htcondor":
        options["job_extra_directives"] = _condor(config, options)
    for name in _OF_CLUSTER:
        options.pop(name, None)
    _make_folder(options["log_directory"])  # or the class would, for everybody to read
    try:
        return cls.job_cls("tls://SCHEDULER:8786", name="hsi-dask-0", **options)
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(f"the jobs of kind {config.kind} cannot be had with these options: {error}") from error


def _make_folder(path: str | Path) -> None:
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be made ({error.strerror}); set options.log_directory to another") from error


def _condor(config: ClusterConfig, options: dict[str, Any]) -> dict[str, Any]:
    job = config.job_options()
    total = math.ceil(job.memory_bytes * _HEADROOM) + _HEADROOM_PROCESS * job.processes
    return {"MY.DaskWorkerMemory": total} | dict(options.get("job_extra_directives") or {})


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


@contextmanager
def worker_jobs(config: ClusterConfig) -> Iterator[Client]:
    """A client to workers in jobs, which are watched; see `connect`."""
    import dask
    from distributed import Client

    from hsi_dask.cluster.watchdog import Watchdog

    command = make_job(config).submit_command.split()[0]
    if shutil.which(command) is None:
        raise ClusterError(f"{command} is not on this machine; run on a login node of the {config.kind} cluster")
    # the watchdog counts, and knows more; a run's own patience only has to be the longer one
    settings = SETTINGS | {"hsi-dask.patience": config.wait + 60}
    with dask.config.set(settings), _cluster(config) as cluster, Client(cluster) as client:
        watchdog = Watchdog(config, cluster, client)
        watchdog.start()
        try:
            watchdog.await_workers()
            yield client
        except Exception as error:
            if watchdog.trouble not in (None, error):  # the client was closed for it, which shows in many ways
                raise watchdog.trouble from error
            raise
        finally:
            watchdog.stop()


@contextmanager
def _cluster(config: ClusterConfig) -> Iterator[Any]:
    """The cluster, with a scheduler in this process and no job yet.

    Its commands and threads do not hear Ctrl-C, so that its jobs can be taken back in order.
    """
    options = arguments(config)
    if config.kind == "htcondor":
        options["job_extra_directives"] = _condor(config, options)
    shared = Path(options["shared_temp_directory"])
    _make_folder(shared)
    bind(options)
    with credentials(config.job_options().security, shared) as security:
        with sheltered():
            cluster = _started(_cluster_class(config.kind), options | {"security": security})
        try:
            yield cluster
        finally:
            with sheltered():
                cluster.close()


def _started(cls: Any, options: dict[str, Any]) -> Any:
    from hsi_dask.cluster.watchdog import tolerant

    try:
        return cls(job_cls=tolerant(cls.job_cls), silence_logs="error", **options)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise ConfigError(f"no scheduler starts with these options: {error}") from error


def bind(options: dict[str, Any]) -> None:
    """Scheduler and workers listen on one address each, that by which they see each other."""
    from distributed.utils import get_ip, get_ip_interface

    if options.get("interface"):
        return
    scheduler = options["scheduler_options"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a network it is loopback
        own = get_ip_interface(scheduler["interface"]) if scheduler.get("interface") else get_ip()
    host = scheduler.get("host") or own
    if "interface" not in scheduler:
        options["scheduler_options"] = scheduler | {"host": host}
    python = options.get("python") or sys.executable
    if "--host" not in options["worker_extra_args"]:
        options["worker_extra_args"] += ["--host", _OWN_ADDRESS.format(python=python, host=host)]
