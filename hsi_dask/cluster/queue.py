"""Queries to batch schedulers: which jobs exist, why one is pending, and what the log of one that ended says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hsi_dask.yaml_text import one_line

TIMEOUT = 60.0  # seconds for an answer; a busy controller takes many
_TAIL = 4000  # bytes at the end of a log that are searched
_REASON = re.compile(r"error|no such|not found|denied|cannot|killed|cancelled|exceeded", re.IGNORECASE)
# Lines that follow from the error or surround it: dask's own messages and the code in a traceback
_NOISE = re.compile(r"^[\d\-:,. ]+ - distributed[\w.]* - (INFO|ERROR)|^RuntimeError: Nanny failed to start|^\s{2}")
# Reasons for which a pending job never starts
_NEVER_STARTS = re.compile(
    r"TimeLimit|NodeLimit|WallDurationPerJob|BadConstraints|InvalidAccount|InvalidQOS|DependencyNeverSatisfied"
    r"|launch failed|in an error state"
)


class JobState(NamedTuple):
    """State of a job that the scheduler has: whether it runs, and the reason if it does not."""

    running: bool
    reason: str

    @property
    def never_starts(self) -> bool:
        """Pending for a reason that waiting does not remove."""
        return not self.running and bool(_NEVER_STARTS.search(self.reason))


def job_states(kind: str, jobs: Sequence[str]) -> dict[str, JobState] | None:
    """State of those of the jobs that the scheduler still has; None if it does not answer.

    Examples
    --------
    >>> job_states("slurm", [])
    {}
    """
    if not jobs:
        return {}
    command, unknown_job = _query(kind, jobs)
    if (output := _output(command, unknown_job)) is None:
        return None
    parsed = (_parse_line(kind, line) for line in output.splitlines())
    states = dict(filter(None, parsed))
    present = {job: states[_base_id(job)] for job in jobs if _base_id(job) in states}
    return _with_reasons(present) if kind == "sge" else present


def _output(command: Sequence[str], unknown_job: str) -> str | None:
    """What a command prints; None if it fails, unless it complains only that it does not know a job.

    Parameters
    ----------
    unknown_job : pattern of that complaint; schedulers that are asked for jobs by number have it for ended ones
    """
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = f"{answer.stdout}{answer.stderr}exit code {answer.returncode}"
    return None if answer.returncode and not (unknown_job and re.search(unknown_job, text)) else answer.stdout


def _with_reasons(states: dict[str, JobState]) -> dict[str, JobState]:
    """Grid Engine's list of jobs does not say why one is pending; its description of the job does."""
    pending = {job: state for job, state in states.items() if not state.running}
    output = _output(["qstat", "-j", ",".join(pending)], "do not exist") if pending else None
    job = ""
    for line in (output or "").splitlines():
        key, _, value = line.partition(":")
        if key == "job_number":
            job = value.strip()
        elif key.startswith(("error reason", "scheduling info")) and job in pending:  # the first is the most telling
            states[job] = JobState(False, f"{pending.pop(job).reason}: {value.split(']: ')[-1].strip()}")
    return states


def _query(kind: str, jobs: Sequence[str]) -> tuple[list[str], str]:
    """The command that lists jobs, and the pattern by which it says that it does not know one."""
    if kind == "slurm":
        return ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%A|%T|%r"], ""
    if kind == "pbs":
        return ["qstat", *jobs], r"has finished|[Uu]nknown [Jj]ob|exit code 153"  # Slurm's qstat prints nothing
    if kind == "lsf":
        return ["bjobs", "-noheader", "-o", "jobid stat pend_reason delimiter='|'", *jobs], "not found"
    if kind == "sge":
        return ["qstat"], ""  # lists the user's own jobs
    return ["condor_q", *jobs, "-af:,", "ClusterId", "ProcId", "JobStatus", "HoldReason"], ""


def _parse_line(kind: str, line: str) -> tuple[str, JobState] | None:
    """Job and state in a line of a listing; None for headings and for jobs that have ended.

    Examples
    --------
    >>> _parse_line("slurm", "17|PENDING|Resources")
    ('17', JobState(running=False, reason='Resources'))
    >>> _parse_line("pbs", "17.head   hsi-dask   me   00:00:01 R workq")
    ('17', JobState(running=True, reason=''))
    """
    fields = [field.strip() for field in (line.split("|") if kind in ("slurm", "lsf") else line.split())]
    if kind == "htcondor":
        fields = [field.strip() for field in line.split(",", 3)]
    if len(fields) < 3 or not fields[0][:1].isdigit():
        return None
    number = _base_id(fields[0])
    match kind:
        case "slurm":
            state, reason = fields[1], "" if fields[2] == "None" else fields[2]
            return number, JobState(state not in ("PENDING", "CONFIGURING"), reason or state.lower())
        case "pbs":
            state = fields[-2]
            ended = state in ("C", "E", "F", "X")
            return None if ended else (number, JobState(state in ("R", "B"), _PBS.get(state, "")))
        case "lsf":
            state = fields[1]
            return None if state in ("DONE", "EXIT") else (number, JobState(state == "RUN", fields[2].strip("- ")))
        case "sge":
            state = fields[4]
            reason = next((reason for letter, reason in _SGE.items() if letter in state), "waiting")
            # a deleted job on a node that does not answer stays in the list
            return None if "d" in state else (number, JobState(state in ("r", "t", "Rr", "Rt"), reason))
    state, held = fields[2], fields[3] if len(fields) > 3 else ""
    if state in ("3", "4"):
        return None
    return f"{fields[0]}.{fields[1]}", JobState(state == "2", f"held: {held}" if state == "5" else "idle")


_SGE = {"E": "in an error state", "h": "held", "s": "suspended", "S": "suspended", "T": "suspended"}
_PBS = {"Q": "queued", "H": "held", "W": "waiting for its time", "S": "suspended", "T": "being moved"}


def _base_id(job: str) -> str:
    """A job's number: PBS appends its server's name; HTCondor's are cluster.process and stay."""
    return job if re.fullmatch(r"\d+\.\d+", job) else re.split(r"[.\[]", job)[0]


def scheduler_message(error: str) -> str:
    """What the submit command printed, out of dask-jobqueue's report, in one line."""
    found = re.search(r"stderr:\n(.*)", error, re.DOTALL)
    return one_line(found[1] if found else error)


def last_log_line(folder: str, job: str) -> str:
    """The line of a job's logs that says most about its end; "" if it left none."""
    pattern = re.compile(rf"(?<!\d){re.escape(_base_id(job))}(?!\d)")
    try:
        logs = sorted(path for path in Path(folder).iterdir() if pattern.search(path.name))
    except OSError:
        return ""
    lines = [line for log in logs for line in _tail(log) if not _NOISE.match(line)]
    telling = [line for line in lines if _REASON.search(line)]
    return one_line((telling or lines or [""])[-1])[:300]


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []
