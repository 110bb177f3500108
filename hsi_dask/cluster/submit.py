"""Job scripts that run a whole site: warned of the wall time they stop in order, and queue again until all is done."""

from __future__ import annotations

import math
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hsi_dask.cluster.config import ClusterConfig, JobOptions
from hsi_dask.cluster.jobs import arguments, make_job
from hsi_dask.cluster.private_files import create_file, private_folder
from hsi_dask.cluster.queue import scheduler_message
from hsi_dask.errors import ClusterError, ConfigError

WARNING = 300  # seconds before the wall time, or half of a shorter one; longer than any tile takes
DRAINED = 138  # exit code, 128 + SIGUSR1: the run was warned, and has stopped in order
# A driver computes nothing but the endmembers; its workers are other jobs
_DRIVER = {"cores": 1, "processes": 1, "memory": "4GiB", "job_name": "hsi-dask-run"}


class Script(NamedTuple):
    """A job script, and the command that submits it."""

    path: Path
    text: str
    command: tuple[str, ...]


_SHEBANG = "#!/usr/bin/env bash"
_BODY = """\
{prologue}
cd {folder} || exit 2
count() {{ ls -d {out}/endmembers.zarr {out}/records/*.json 2>/dev/null | wc -l; }}
before=$(count) warned= signalled=
trap 'warned=1 signalled=1; kill -USR1 "$run" 2>/dev/null' USR1 USR2
trap 'signalled=1; kill -TERM "$run" 2>/dev/null' TERM INT
{timer}{command} &
run=$!
code=0; wait "$run" || code=$?
while [ -n "$signalled" ]; do  # a signal ends the wait, not the run: wait again
    signalled=; again=0; wait "$run" || again=$?
    [ "$again" = 127 ] || code=$again
done
{stop_timer}[ -n "$warned" ] && [ "$code" -gt 2 ] || exit "$code"
if [ "$(count)" = "$before" ]; then
    echo "nothing was finished within the wall time: not queued again; ask for a longer one" >&2
    exit "$code"
fi
{again}
"""
_TIMER = "sleep {seconds} && kill -USR1 $$ &\ntimer=$!\n"
# How a job that was warned queues again; Grid Engine and HTCondor do it for an exit code
_AGAIN = {
    "slurm": 'scontrol requeue "$SLURM_JOB_ID"',
    "pbs": 'qsub -W depend=afterany:"$PBS_JOBID" {path}',
    "lsf": 'bsub -w "ended($LSB_JOBID)" < {path}',
    "sge": "exit 99",
    "htcondor": f"exit {DRAINED}",
}


def write_scripts(
    config: ClusterConfig, words: Sequence[str], out: str | os.PathLike[str], *, array: int | None = None
) -> list[Script]:
    """Write into the log directory the scripts of jobs that carry out `hsi-dask run` with these words.

    Parameters
    ----------
    config : ClusterConfig
        Of a batch scheduler.
    words : what follows `hsi-dask run`
    out : the run directory that the words name
    array : number of parts that share the tiles, each in a job of the size of a worker job; None: one job that drives
        worker jobs

    Raises
    ------
    ConfigError
        The kind has no jobs, or an option is wrong.
    """
    if not config.queued:
        raise ConfigError(f"kind {config.kind} has no jobs to submit; give the file of a batch scheduler")
    config = config.model_copy(update={"driver": {} if array else _DRIVER | config.driver})
    logs = private_folder(arguments(config, driver=True)["log_directory"], "options.log_directory")
    stem = f"{Path(out).name}-{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
    if array and config.kind != "slurm":  # a job each: every part queues again by itself
        parts = [(logs / f"{stem}-{i}of{array}.sh", f"{i}/{array}") for i in range(1, array + 1)]
    else:
        parts = [(logs / f"{stem}.sh", f'"$SLURM_ARRAY_TASK_ID/{array}"' if array else "")]
    return [_write_script(config, words, out, path, part, array) for path, part in parts]


def _write_script(
    config: ClusterConfig, words: Sequence[str], out: str | os.PathLike[str], path: Path, part: str, array: int | None
) -> Script:
    job, options = make_job(config, driver=True), config.job_options(driver=True)
    seconds = wall_seconds(config.kind, options.walltime)
    early = max(60, min(WARNING, seconds // 2)) if seconds else WARNING
    timer = _TIMER.format(seconds=seconds - early) if seconds and config.kind != "slurm" else ""
    command = shlex.join([options.python or sys.executable, "-m", "hsi_dask", "run", *words])
    body = _BODY.format(
        prologue="\n".join(_prologue(config, options, part)),
        folder=shlex.quote(os.getcwd()),
        out=shlex.quote(str(out)),
        timer=timer,
        stop_timer='kill "$timer" 2>/dev/null\n' if timer else "",
        command=f"{command} --part {part}" if part else command,
        again=_AGAIN[config.kind].format(path=shlex.quote(str(path))),
    )
    if config.kind == "htcondor":
        return _write_description(job, path, body)
    header = [job.job_header]
    if config.kind == "slurm":
        # the signal goes to this shell alone; a job that starts again appends to the same log
        header += [f"#SBATCH --signal=B:USR1@{early}", "#SBATCH --requeue", "#SBATCH --open-mode=append"]
        header += [f"#SBATCH --array=1-{array}"] if array else []
    text = "\n".join([_SHEBANG, *header, body])
    create_file(path, text)
    return Script(path, text, _submission(job, config.kind, path))


def _prologue(config: ClusterConfig, options: JobOptions, part: str) -> list[str]:
    lines = list(arguments(config, driver=True)["job_script_prologue"])
    if config.kind == "sge":  # whose jobs have a PATH without its commands
        lines.append('export PATH="$PATH:$SGE_BINARY_PATH"')
    if part:
        lines.append(f"export DASK_NUM_WORKERS={options.cores}")  # a part computes in its own process
    return lines


def _submission(job: Any, kind: str, path: Path) -> tuple[str, ...]:
    if kind == "lsf":  # bsub reads directives only from its standard input
        return ("sh", "-c", f"bsub < {shlex.quote(str(path))}")
    return (*shlex.split(job.submit_command), str(path))


def _write_description(job: Any, path: Path, body: str) -> Script:
    """HTCondor's jobs are described in a file of their own, beside the script."""
    create_file(path, f"{_SHEBANG}\n{body}", 0o700)
    lines = [f"{key} = {value}" for key, value in job.job_header_dict.items() if key != "batch_name"]
    lines += [f"Executable = {path}", f"on_exit_remove = ExitCode =!= {DRAINED}", "Queue"]
    description = path.with_suffix(".sub")
    create_file(description, "\n".join(lines) + "\n")
    return Script(description, "\n".join(lines) + "\n\n" + body, _submission(job, "htcondor", description))


def submit(script: Script) -> str:
    """Submit a script and return the scheduler's answer.

    Raises
    ------
    ClusterError
        The scheduler refuses the job or does not answer.
    """
    try:
        answer = subprocess.run(script.command, capture_output=True, text=True, check=True, timeout=120)
    except FileNotFoundError as error:
        raise ClusterError(f"{script.command[0]} is not on this machine; submit from a login node") from error
    except subprocess.CalledProcessError as error:
        raise ClusterError(
            f"the job was refused: {scheduler_message(error.stderr or error.stdout)}; see {script.path}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{script.command[0]} did not answer in 120 s; is {script.path} in the queue?") from error
    return " ".join(answer.stdout.split())


def wall_seconds(kind: str, text: str | None) -> int | None:
    """A wall time in seconds, as its scheduler reads it; None if there is none.

    Examples
    --------
    >>> wall_seconds("slurm", "1-12"), wall_seconds("slurm", "90"), wall_seconds("lsf", "1:30")
    (129600, 5400, 5400)
    >>> wall_seconds("pbs", "04:00:00"), wall_seconds("slurm", "infinite")
    (14400, None)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", (text or "").strip())
    if not found:
        return None
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None or len(numbers) == 3:  # D-H[:M[:S]]
        units = [3600, 60, 1]
    elif kind == "lsf":  # [H:]M
        units = [3600, 60] if len(numbers) == 2 else [60]
    elif kind == "slurm":  # M[:S]
        units = [60, 1]
    else:  # [M:]S
        units = [60, 1] if len(numbers) == 2 else [1]
    return int(days or 0) * 86400 + sum(map(math.prod, zip(numbers, units, strict=False)))
