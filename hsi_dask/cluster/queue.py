"""What a batch scheduler says about jobs: which live, why one waits, and what the log of a dead one says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SECONDS = 60.0  # for an answer; a busy controller takes many
_TAIL = 4000  # bytes of a log that are looked at
_MENTIONS = re.compile(r"error|no such|not found|denied|cannot|killed|cancelled|exceeded", re.IGNORECASE)
# What dask says about it, what follows from it, and the lines of code in a traceback
_NOISE = re.compile(r"^[\d\-:,. ]+ - distributed[\w.]* - (INFO|ERROR)|^RuntimeError: Nanny failed to start|^\s{2}")
# Reasons for waiting that time does not cure
_HOPELESS = re.compile(
    r"TimeLimit|NodeLimit|WallDurationPerJob|BadConstraints|InvalidAccount|InvalidQOS|DependencyNeverSatisfied"
    r"|launch failed|in an error state"
)


class Standing(NamedTuple):
    """A living job: does it run, and if not, why."""

    running: bool
    reason: str

    @property
    def hopeless(self) -> bool:
        """It will never run as it was asked for."""
        return not self.running and bool(_HOPELESS.search(self.reason))


def living(kind: str, jobs: Sequence[str]) -> dict[str, Standing] | None:
    """Which of these jobs the scheduler still has; None if it does not answer.

    Examples
    --------
    >>> living("slurm", [])
    {}
    """
    if not jobs:
        return {}
    command, unknown = _question(kind, jobs)
    # schedulers that are asked for jobs by name complain about those that have ended
    if (answer := _answer(command, unknown)) is None:
        return None
    standings = (_standing(kind, line) for line in answer.splitlines())
    found = dict(filter(None, standings))
    alive = {job: found[_short(job)] for job in jobs if _short(job) in found}
    return _explained(alive) if kind == "sge" else alive


def _answer(command: Sequence[str], unknown: str) -> str | None:
    """What a command says; None if it fails, other than for not knowing a job."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = f"{answer.stdout}{answer.stderr}exit code {answer.returncode}"
    return None if answer.returncode and not (unknown and re.search(unknown, told)) else answer.stdout


def _explained(alive: dict[str, Standing]) -> dict[str, Standing]:
    """Grid Engine's list of jobs does not say why one waits; asked about the job itself, it does."""
    waiting = {job: standing for job, standing in alive.items() if not standing.running}
    told = _answer(["qstat", "-j", ",".join(waiting)], "do not exist") if waiting else None
    job = ""
    for line in (told or "").splitlines():
        key, _, value = line.partition(":")
        if key == "job_number":
            job = value.strip()
        elif key.startswith(("error reason", "scheduling info")) and job in waiting:  # the first says most
            alive[job] = Standing(False, f"{waiting.pop(job).reason}: {value.split(']: ')[-1].strip()}")
    return alive


def _question(kind: str, jobs: Sequence[str]) -> tuple[list[str], str]:
    """The command that lists jobs, and how it says that it does not know one."""
    if kind == "slurm":
        return ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%A|%T|%r"], ""
    if kind == "pbs":
        return ["qstat", *jobs], r"has finished|[Uu]nknown [Jj]ob|exit code 153"  # Slurm's qstat has no words
    if kind == "lsf":
        return ["bjobs", "-noheader", "-o", "jobid stat pend_reason delimiter='|'", *jobs], "not found"
    if kind == "sge":
        return ["qstat"], ""  # the user's own, without a question for others'
    return ["condor_q", *jobs, "-af:,", "ClusterId", "ProcId", "JobStatus", "HoldReason"], ""


def _standing(kind: str, line: str) -> tuple[str, Standing] | None:
    """The job of a line and how it stands; None for headings and for jobs that have ended.

    Examples
    --------
    >>> _standing("slurm", "17|PENDING|Resources")
    ('17', Standing(running=False, reason='Resources'))
    >>> _standing("pbs", "17.head   hsi-dask   me   00:00:01 R workq")
    ('17', Standing(running=True, reason=''))
    """
    fields = [field.strip() for field in (line.split("|") if kind in ("slurm", "lsf") else line.split())]
    if kind == "htcondor":
        fields = [field.strip() for field in line.split(",", 3)]
    if len(fields) < 3 or not fields[0][:1].isdigit():
        return None
    number = _short(fields[0])
    match kind:
        case "slurm":
            state, reason = fields[1], "" if fields[2] == "None" else fields[2]
            return number, Standing(state not in ("PENDING", "CONFIGURING"), reason or state.lower())
        case "pbs":
            state = fields[-2]
            gone = state in ("C", "E", "F", "X")
            return None if gone else (number, Standing(state in ("R", "B"), _PBS.get(state, "")))
        case "lsf":
            state = fields[1]
            return None if state in ("DONE", "EXIT") else (number, Standing(state == "RUN", fields[2].strip("- ")))
        case "sge":
            state = fields[4]
            told = next((told for letter, told in _SGE.items() if letter in state), "waiting")
            # one that is deleted on a node that does not answer keeps standing there
            return None if "d" in state else (number, Standing(state in ("r", "t", "Rr", "Rt"), told))
    state, held = fields[2], fields[3] if len(fields) > 3 else ""
    if state in ("3", "4"):
        return None
    return f"{fields[0]}.{fields[1]}", Standing(state == "2", f"held: {held}" if state == "5" else "idle")


_SGE = {"E": "in an error state", "h": "held", "s": "suspended", "S": "suspended", "T": "suspended"}
_PBS = {"Q": "queued", "H": "held", "W": "waiting for its time", "S": "suspended", "T": "being moved"}


def _short(job: str) -> str:
    """PBS appends its server's name to a job's number, HTCondor the number within its cluster."""
    return job if re.fullmatch(r"\d+\.\d+", job) else re.split(r"[.\[]", job)[0]


def said(error: str) -> str:
    """What the submit command had to say, out of dask-jobqueue's report."""
    found = re.search(r"stderr:\n(.*)", error, re.DOTALL)
    return " ".join((found[1] if found else error).split())


def last_words(folder: str, job: str) -> str:
    """The line of a job's logs that says most about its end; "" if it left none."""
    pattern = re.compile(rf"(?<!\d){re.escape(_short(job))}(?!\d)")
    try:
        logs = sorted(path for path in Path(folder).iterdir() if pattern.search(path.name))
    except OSError:
        return ""
    lines = [line for log in logs for line in _tail(log) if not _NOISE.match(line)]
    telling = [line for line in lines if _MENTIONS.search(line)]
    return (telling or lines or [""])[-1].strip()[:300]


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []
