"""A watchdog over worker jobs: what ended is replaced, what cannot be had is said in one sentence.

dask-jobqueue submits jobs and believes in them for ever. This asks the batch scheduler which of them live, whenever
workers are missing, and submits others for those that are gone.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsi_dask.cluster.config import ClusterConfig
from hsi_dask.cluster.queue import Standing, last_words, living, said
from hsi_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

DEATHS = 3  # of jobs that no worker came from, one after another and with no worker left: the next would die too
LOOK = 1.0  # seconds between looks at the scheduler in this process, which are free
ASK = (3.0, 30.0)  # seconds between questions to the batch scheduler: soon after a change, later ever more rarely
NEWBORN = {"slurm": 2.0, "sge": 2.0}  # seconds until a job that was submitted has to show in the queue; else 10
LOST = 90.0  # seconds that a running job may go without its workers: a nanny restarts one in less
LAST = 3.0  # seconds that the end of a run waits for the last look
TELL = 60.0  # seconds between two lines about missing workers
LONGEST_PAUSE = 300.0  # seconds, between submissions of jobs that keep dying on some bad node
_SAFE = "what is finished is safe, run again to go on"


def tolerant(job_class: type) -> type:
    """The job class, keeping what was said when a job was refused; dask-jobqueue loses it and then fails to close."""
    from distributed.core import Status

    class Tolerant(job_class):  # type: ignore[misc]
        refusal = ""

        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as error:
                self.refusal = said(str(error))
                self.status = Status.running

    return Tolerant


@dataclass
class Job:
    """What is known of a submitted job."""

    number: str
    submitted: float
    refusal: str = ""
    listed: bool = False  # the batch scheduler has named it
    worked: bool = False  # a worker of it has registered
    missed: float = 0.0  # since when it runs without a worker that it had


class Watchdog:
    """Keeps as many jobs alive as were asked for.

    Attributes
    ----------
    trouble : why there can be no workers; the client is closed then
    """

    def __init__(self, config: ClusterConfig, cluster: Any, client: Client) -> None:
        self.config, self.cluster, self.client = config, cluster, client
        self.folder = cluster._job_kwargs["log_directory"]
        self.processes = config.job_options().processes
        self.trouble: ClusterError | None = None
        self.jobs: dict[str, Job] = {}
        self.standings: Mapping[str, Standing] | None = {}
        self.stillborn, self.last = 0, ""
        self.changed = self.seen = self.told = time.monotonic()
        self.asked = self.dropped = -1e9
        self._settled, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Submit the jobs and watch them."""
        self.cluster.scale(jobs=self.config.jobs)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(LAST)  # it may be waiting for a batch scheduler that does not answer

    def await_workers(self) -> None:
        """Return when there is a worker; raise when there can be none."""
        self._settled.wait()
        if self.trouble is not None:
            raise self.trouble

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            try:
                self._look()
            except ClusterError as error:
                self.trouble = error
            except Exception as error:  # unwatched, a run could hang
                if self._ended.is_set():
                    return
                logger.debug("watchdog", exc_info=True)
                self.trouble = ClusterError(f"worker jobs cannot be watched: {type(error).__name__}: {error}; {_SAFE}")
            if self.trouble is not None:
                self._settled.set()
                self.client.close()
                return

    def _look(self) -> None:
        now = time.monotonic()
        here = self.cluster.sync(self._registered)
        if sum(here.values()):
            self.seen = now
            self._settled.set()
        if len(here) == self.config.jobs and all(count == self.processes for count in here.values()):
            self.stillborn = 0
            return
        if now - self.asked >= min(max((now - self.changed) / 10, ASK[0]), ASK[1]):
            self.asked = now
            self._ask(here)
        self._require_workers(now, any(here.values()))

    async def _registered(self) -> dict[str, int]:
        """Workers of each job that was submitted; runs in the cluster's loop."""
        names = Counter(re.sub(r"-\d+$", "", str(w.name)) if self.processes > 1 else str(w.name)
                        for w in self.cluster.scheduler.workers.values())  # fmt: skip
        for name, job in list(self.cluster.workers.items()):
            number = job.job_id or ""
            if name not in self.jobs or self.jobs[name].number != number:
                self.changed = time.monotonic()
                self.jobs[name] = Job(number, self.changed, job.refusal)
            if names[str(name)] and not self.jobs[name].worked:
                self.jobs[name].worked, self.stillborn, self.changed = True, 0, time.monotonic()
        return {name: names[str(name)] for name in self.jobs}

    def _ask(self, here: Mapping[str, int]) -> None:
        """Compare with the batch scheduler; drop what has ended and submit anew."""
        self.standings = living(self.config.kind, [job.number for job in self.jobs.values() if job.number])
        gone = [name for name, job in self.jobs.items() if self._is_gone(name, job, here[name])]
        for name in gone:
            self._account(self.jobs[name])
        if gone:
            self.changed = self.dropped = time.monotonic()
            self.cluster.sync(self._drop, gone)
        if self.stillborn >= DEATHS and not any(here.values()):
            raise ClusterError(f"{self.last}; {self.stillborn} jobs have ended so, and no worker came; {_SAFE}")
        pause = min(2.0**self.stillborn, LONGEST_PAUSE) if self.stillborn else 0.0
        if not self._ended.is_set() and len(self.jobs) < self.config.jobs and time.monotonic() - self.dropped >= pause:
            self.cluster.scale(jobs=self.config.jobs)

    def _is_gone(self, name: str, job: Job, workers: int) -> bool:
        if job.refusal or name not in self.cluster.workers:
            return True
        if self.standings is None:
            return False
        now = time.monotonic()
        if (standing := self.standings.get(job.number)) is None:
            return job.listed or now - job.submitted > NEWBORN.get(self.config.kind, 10.0)
        job.listed = True
        if workers or not (job.worked and standing.running):
            job.missed = now
        return job.worked and now - job.missed > LOST

    def _account(self, job: Job) -> None:
        """Why it ended, for the log and for the sentence if it comes to that."""
        if job.refusal:
            self.last = f"a worker job was refused: {job.refusal}"
        else:
            words = last_words(self.folder, job.number)
            log = f"its log in {self.folder} ends with: {words}" if words else f"it left no log in {self.folder}"
            self.last = f"worker job {job.number} ended{'' if job.worked else ' before its worker came'}; {log}"
        self.stillborn += not job.worked
        logger.warning("%s", self.last)

    async def _drop(self, names: Iterable[str]) -> None:
        """Forget jobs; runs in the cluster's loop."""
        for name in names:
            del self.jobs[name]
            self.cluster.worker_spec.pop(name, None)
            if (job := self.cluster.workers.pop(name, None)) is not None:
                await job.close()

    def _require_workers(self, now: float, some: bool) -> None:
        waiting = [(number, s) for number, s in (self.standings or {}).items() if not s.running]
        if not some and waiting and len(waiting) == len(self.jobs) and all(s.hopeless for _, s in waiting):
            number, standing = waiting[0]
            raise ClusterError(
                f"worker job {number} will never start: {standing.reason}; compare options.walltime, cores, memory and "
                f"queue with the queue's limits; {_SAFE}"
            )
        if now - self.seen > self.config.wait:
            raise ClusterError(f"no worker for {now - self.seen:.0f} s (the key wait): {self._state()}; {_SAFE}")
        if now - self.told > TELL:
            self.told = now
            logger.warning("%s", self._state())

    def _state(self) -> str:
        if self.standings is None:
            return f"{self.config.kind} does not answer when asked for jobs"
        runs = sum(standing.running for standing in self.standings.values())
        reasons = Counter(standing.reason for standing in self.standings.values() if not standing.running)
        waiting = "".join(f", {count} waiting: {reason}" for reason, count in reasons.items())
        last = f"; last, {self.last}" if self.stillborn else ""
        return f"{runs} of {self.config.jobs} worker jobs run{waiting}{last}"
