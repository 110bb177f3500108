"""Preflight of a cluster file: what can be found out before a site's run waits in a queue."""

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
from hsi_dask.cluster.queue import scheduler_message
from hsi_dask.cluster.submit import wall_seconds
from hsi_dask.errors import HsiDaskError

# Commands by which a scheduler says whether it would accept a job; the others have none
_DRY_RUN = {
    "slurm": "sbatch --test-only {script}",
    "sge": "qsub -w v {script}",
    "htcondor": "condor_submit -dry-run /dev/null {script}",
}
_NEEDED = 1024**3  # bytes of scratch
# Address space that a worker reserves beside the memory it uses, for threads, libraries and mapped files: 1.4 GiB on a
# whole tile
_ADDRESSES = 3 * 2**29


class Finding(NamedTuple):
    """One thing that was checked."""

    what: str
    good: bool
    text: str


def check(config: ClusterConfig, out: str | os.PathLike[str] | None = None) -> Iterator[Finding]:
    """Check one thing after another that a run needs; the last ones on a worker that is started for it.

    Parameters
    ----------
    config : ClusterConfig
    out : the folder that runs will be written to; by default the current one
    """
    if config.queued:
        job = make_job(config)
        command = job.submit_command.split()[0]
        if shutil.which(command) is None:
            yield Finding("command", False, f"{command} is not on this machine; run this on a login node")
            return
        findings = [_accepted(config.kind, job), _wall_time(config)]
        yield from findings
        if not all(finding.good for finding in findings):
            return
    yield from _probe(config, Path(out or ".").absolute())


def _accepted(kind: str, job: Any) -> Finding:
    """Whether the scheduler would accept a worker job."""
    if kind not in _DRY_RUN:
        return Finding("job", True, f"{kind} cannot be asked without submitting; the probe is such a job")
    with job.job_file() as script:
        answer = _output(_DRY_RUN[kind].format(script=shlex.quote(script)))
    message = scheduler_message(answer.stderr or answer.stdout)
    if answer.returncode:
        return Finding("job", False, f"refused: {message}; change options accordingly")
    return Finding("job", True, message or "would be accepted")


def _wall_time(config: ClusterConfig) -> Finding:
    """Slurm accepts a job that asks for more than its partition's limit, and then never starts it."""
    job = config.job_options()
    if job.walltime is None:
        return Finding("wall time", True, "left to the queue; with options.walltime short jobs often start earlier")
    if config.kind == "sge":
        return Finding("wall time", True, f"{job.walltime}; Grid Engine has considered it with the job")
    if config.kind != "slurm":
        return Finding("wall time", True, f"{job.walltime}; compare it with the queue's limit, which is not asked for")
    wanted = wall_seconds("slurm", job.walltime)
    if wanted is None:
        return Finding("wall time", False, f"options.walltime is {job.walltime!r}; write it as H:M:S")
    answer = _output(
        "sinfo --noheader --format='%P|%l'" + (f" --partition={shlex.quote(job.queue)}" if job.queue else "")
    )
    rows = [line.strip().split("|") for line in answer.stdout.splitlines() if "|" in line]
    limits = [limit for name, limit in rows if job.queue or name.endswith("*")]
    if answer.returncode or not limits:
        message = scheduler_message(answer.stderr)
        return Finding("wall time", False, f"partition {job.queue or '(default)'} is not known: {message}")
    limit = wall_seconds("slurm", limits[0])
    if limit is not None and wanted > limit:
        problem = f"{job.walltime} is above the partition's limit, {limits[0]}: the job would wait for ever"
        return Finding("wall time", False, f"{problem}; lower options.walltime or choose another options.queue")
    return Finding("wall time", True, f"{job.walltime}, of {limits[0]} that the partition allows")


def _output(command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _probe(config: ClusterConfig, out: Path) -> Iterator[Finding]:
    """Start one worker as a run would, and report what it measures."""
    while not out.is_dir():  # a run makes its own folder
        out = out.parent
    started = time.monotonic()
    try:
        with (
            tempfile.NamedTemporaryFile(dir=out, prefix=".hsi-dask-") as mark,
            connect(config.model_copy(update={"jobs": 1})) as client,
        ):
            yield Finding("worker", True, f"came after {time.monotonic() - started:.0f} s, and imports hsi_dask")
            measured = client.submit(_measure, mark.name, pure=False).result(timeout=config.wait)
            encrypted = str(client.scheduler_info()["address"]).startswith("tls://")
    except (HsiDaskError, TimeoutError) as error:  # a TimeoutError is an OSError
        yield Finding("worker", False, str(error) or "a small task was not finished in time; see the key wait")
    except OSError as error:
        yield Finding("output", False, f"{out} cannot be written from here ({error.strerror}); choose another folder")
    else:
        yield Finding("versions", True, measured["versions"])
        yield Finding("memory", *_memory(measured))
        yield Finding("threads", *_threads(measured))
        yield Finding("scratch", *measured["scratch"])
        yield Finding("output", *measured["output"])
        yield Finding("network", *_network(encrypted))


def _measure(mark: str) -> dict[str, Any]:
    """Run in a worker: versions, limits, scratch and output. `mark` is a file of the driver in the output folder."""
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


def _memory(measured: dict[str, Any]) -> tuple[bool, str]:
    if not measured["limit"]:
        return True, "no limit: nothing stops a worker before the machine does"
    if 0 <= measured["addresses"] < measured["limit"] + _ADDRESSES:
        return False, (
            f"a job may address {measured['addresses'] / 2**30:.2f} GiB (h_vmem, ulimit -v), of which memory is a "
            f"part; a worker of {measured['limit'] / 2**30:.2f} GiB needs {_ADDRESSES / 2**30} GiB on top"
        )
    return True, f"{measured['limit'] / 2**30:.2f} GiB a worker; `hsi-dask run --dry-run` tells what your tiles need"


def _threads(measured: dict[str, Any]) -> tuple[bool, str]:
    few = measured["threads"] <= measured["cores"]
    advice = "" if few else "; lower the threads, or ask for more cores"
    return few, f"{measured['threads']} a worker, on {measured['cores']} cores that it may use{advice}"


def _network(encrypted: bool) -> tuple[bool, str]:
    if encrypted:
        return True, "TLS between scheduler and workers"
    return False, "not encrypted: whoever reaches the scheduler runs code as you; use TLS (options.security)"
