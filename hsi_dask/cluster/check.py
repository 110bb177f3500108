"""The preflight of a cluster file: everything that can be found out before a site's run waits in a queue for it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hsi_dask.cluster.config import ClusterConfig
from hsi_dask.cluster.connection import connect
from hsi_dask.cluster.jobs import make_job
from hsi_dask.cluster.queue import said
from hsi_dask.cluster.submit import wall_seconds
from hsi_dask.errors import HsiDaskError

# Asked whether they would take a job; the others only have the job itself
_WOULD = {
    "slurm": "sbatch --test-only {script}",
    "sge": "qsub -w v {script}",
    "htcondor": "condor_submit -dry-run /dev/null {script}",
}
_NEEDED = 1024**3  # bytes of scratch; a worker spills there only in need
# Addresses that a worker takes without using their memory: threads, libraries, mapped files. 1.4 GiB on a whole tile
_ADDRESSES = 3 * 2**29


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    good: bool
    said: str


def check(config: ClusterConfig, out: str | os.PathLike[str] | None = None) -> Iterator[Finding]:
    """What would keep a run from working, one finding after another; the last come from a worker that was started.

    Parameters
    ----------
    config : ClusterConfig
    out : the folder that runs are to be written to; by default the current one
    """
    if config.queued:
        job = make_job(config)
        command = job.submit_command.split()[0]
        if shutil.which(command) is None:
            yield Finding("command", False, f"{command} is not on this machine; run this on a login node")
            return
        found = [_accepted(config.kind, job), _wall_time(config)]
        yield from found
        if not all(finding.good for finding in found):
            return
    yield from _probe(config, Path(out or ".").absolute())


def _accepted(kind: str, job: Any) -> Finding:
    """Whether the scheduler would take a worker job."""
    if kind not in _WOULD:
        return Finding("job", True, f"{kind} cannot be asked without submitting; the probe is such a job")
    with job.job_file() as script:
        answer = _asked(_WOULD[kind].format(script=shlex.quote(script)))
    if answer.returncode:
        return Finding("job", False, f"refused: {said(answer.stderr or answer.stdout)}; change options accordingly")
    return Finding("job", True, said(answer.stderr or answer.stdout) or "would be accepted")


def _wall_time(config: ClusterConfig) -> Finding:
    """Slurm takes a job that asks for more than its partition's limit, and then never starts it."""
    job = config.job_options()
    if job.walltime is None:
        return Finding("wall time", True, "left to the queue; with options.walltime short jobs often start earlier")
    if config.kind == "sge":
        return Finding("wall time", True, f"{job.walltime}; Grid Engine has considered it with the job")
    if config.kind != "slurm":
        return Finding("wall time", True, f"{job.walltime}; compare it with the queue's limit, which is not asked for")
    mine = wall_seconds("slurm", job.walltime)
    if mine is None:
        return Finding("wall time", False, f"options.walltime is {job.walltime!r}; write it as H:M:S")
    answer = _asked(
        "sinfo --noheader --format='%P|%l'" + (f" --partition={shlex.quote(job.queue)}" if job.queue else "")
    )
    rows = [line.strip().split("|") for line in answer.stdout.splitlines() if "|" in line]
    limits = [limit for name, limit in rows if job.queue or name.endswith("*")]
    if answer.returncode or not limits:
        return Finding("wall time", False, f"partition {job.queue or '(default)'} is not known: {said(answer.stderr)}")
    limit = wall_seconds("slurm", limits[0])
    if limit is not None and mine > limit:
        told = f"{job.walltime} is above the partition's limit, {limits[0]}: the job would wait for ever"
        return Finding("wall time", False, f"{told}; lower options.walltime or choose another options.queue")
    return Finding("wall time", True, f"{job.walltime}, of {limits[0]} that the partition allows")


def _asked(command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _probe(config: ClusterConfig, out: Path) -> Iterator[Finding]:
    """Start one worker as a run would, and let it tell."""
    while not out.is_dir():  # a run makes its own folder
        out = out.parent
    started = time.monotonic()
    try:
        with (
            tempfile.NamedTemporaryFile(dir=out, prefix=".hsi-dask-") as mark,
            connect(config.model_copy(update={"jobs": 1})) as client,
        ):
            yield Finding("worker", True, f"came after {time.monotonic() - started:.0f} s, and imports hsi_dask")
            told = client.submit(_look_around, mark.name, pure=False).result(timeout=config.wait)
            encrypted = str(client.scheduler_info()["address"]).startswith("tls://")
    except OSError as error:
        yield Finding("output", False, f"{out} cannot be written from here ({error.strerror}); choose another folder")
    except (HsiDaskError, TimeoutError) as error:
        yield Finding("worker", False, str(error) or "a small task was not finished in time; see the key wait")
    else:
        yield Finding("versions", True, told["versions"])
        yield Finding("memory", *_memory(told))
        yield Finding("threads", *_threads(told))
        yield Finding("scratch", *told["scratch"])
        yield Finding("output", *told["output"])
        yield Finding("network", *_network(config, encrypted))


def _look_around(mark: str) -> dict[str, Any]:
    """Runs in a worker; `mark` is a file that the driver has made in the output folder."""
    import platform
    import resource
    from importlib.metadata import version

    from distributed import get_worker

    worker, folder = get_worker(), os.path.dirname(mark)
    packages = ("dask", "distributed", "numpy", "numba", "h5py", "zarr", "xarray")
    output = _writable(folder)
    if not os.path.exists(mark):
        output = False, f"{folder} is another folder on {platform.node()} than here; give one that all nodes share"
    return {
        "versions": f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
        "limit": worker.memory_manager.memory_limit,
        "addresses": resource.getrlimit(resource.RLIMIT_AS)[0],
        "threads": worker.state.nthreads,
        "cores": len(os.sched_getaffinity(0)),
        "scratch": _writable(worker.local_directory),
        "output": output,
    }


def _writable(folder: str) -> tuple[bool, str]:
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return False, f"{folder} cannot be written by the worker ({error.strerror}); choose another one"
    return free > _NEEDED, f"{folder} can be written, {free / 1e9:.1f} GB free" + (
        "" if free > _NEEDED else ": too few"
    )


def _memory(told: dict[str, Any]) -> tuple[bool, str]:
    if not told["limit"]:
        return True, "no limit: nothing stops a worker before the machine does"
    if 0 <= told["addresses"] < told["limit"] + _ADDRESSES:
        return False, (
            f"a job may address {told['addresses'] / 2**30:.2f} GiB (h_vmem, ulimit -v), of which memory is a part; "
            f"a worker of {told['limit'] / 2**30:.2f} GiB needs {_ADDRESSES / 2**30} GiB on top"
        )
    return True, f"{told['limit'] / 2**30:.2f} GiB a worker; `hsi-dask run --dry-run` tells what your tiles need"


def _threads(told: dict[str, Any]) -> tuple[bool, str]:
    few = told["threads"] <= told["cores"]
    advice = "" if few else "; lower the threads, or ask for more cores"
    return few, f"{told['threads']} a worker, on {told['cores']} cores that it may use{advice}"


def _network(config: ClusterConfig, encrypted: bool) -> tuple[bool, str]:
    if encrypted:
        return True, "TLS between scheduler and workers"
    if config.kind == "local":
        return True, "this machine only"
    return False, "not encrypted: whoever reaches the scheduler runs code as you; use TLS (options.security)"
