"""A watchdog over worker jobs: jobs that ended are replaced; when no worker can be had one sentence says why.

dask-jobqueue does not detect jobs that have ended. While workers are missing this asks the batch scheduler which jobs
still exist, and submits others in the place of those that do not.
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
from hsi_dask.cluster.queue import JobState, job_states, last_log_line
from hsi_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

MAX_FAILED_STARTS = 3  # jobs in a row that ended before a worker came, with no worker left: the next would end as well
CHECK_INTERVAL = 1.0  # seconds between checks of the scheduler in this process, which cost nothing
QUERY_INTERVAL = (3.0, 30.0)  # seconds between queries to the batch scheduler: short after a change, then longer
VISIBLE_AFTER = {"slurm": 2.0, "sge": 2.0}  # seconds until a submitted job has to be in the queue; others 10
WORKER_GRACE = 90.0  # seconds that a running job may lack workers it has had: a nanny restarts one in less
JOIN_TIMEOUT = 3.0  # seconds that the end of a run waits for the thread
REPORT_INTERVAL = 60.0  # seconds between two lines about missing workers
MAX_RESUBMIT_DELAY = 300.0  # seconds between submissions of jobs that keep failing on some bad node
_SAFE = "what is finished is safe, run again to go on"


@dataclass
class WorkerJob:
    """What is known of a submitted job; times are monotonic seconds."""

    number: str
    submitted: float
    refusal: str = ""  # of the submit command
    listed: bool = False  # the batch scheduler has listed it
    had_workers: bool = False
    last_complete: float = 0.0  # when it last was not missing a worker that it had had


class Watchdog:
    """Keeps as many jobs alive as were asked for.

    Attributes
    ----------
    failure : why there can be no workers; the client is closed then
    """

    def __init__(self, config: ClusterConfig, cluster: Any, client: Client, logs: str) -> None:
        self.config, self.cluster, self.client, self.logs = config, cluster, client, logs
        self.processes = config.job_options().processes
        self.failure: ClusterError | None = None
        self.jobs: dict[str, WorkerJob] = {}
        self.states: Mapping[str, JobState] | None = {}
        self.failed_starts, self.last_end = 0, ""
        self.changed = self.seen = self.reported = time.monotonic()
        self.queried = self.dropped = -1e9
        self._settled, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Submit the jobs and watch them."""
        self.cluster.scale(jobs=self.config.jobs)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(JOIN_TIMEOUT)  # it may be waiting for a batch scheduler that does not answer

    def await_workers(self) -> None:
        """Return when there is a worker; raise when there can be none."""
        self._settled.wait()
        if self.failure is not None:
            raise self.failure

    def _watch(self) -> None:
        while not self._stopped.wait(CHECK_INTERVAL):
            try:
                self._check()
            except ClusterError as error:
                self.failure = error
            except Exception as error:  # unwatched, a run could hang
                if self._stopped.is_set():
                    return
                logger.debug("watchdog", exc_info=True)
                self.failure = ClusterError(f"worker jobs cannot be watched: {type(error).__name__}: {error}; {_SAFE}")
            if self.failure is not None:
                self._settled.set()
                self.client.close()
                return

    def _check(self) -> None:
        now = time.monotonic()
        workers = self.cluster.sync(self._count_workers)
        if sum(workers.values()):
            self.seen = now
            self._settled.set()
        if len(workers) == self.config.jobs and all(count == self.processes for count in workers.values()):
            self.failed_starts = 0
            return
        if now - self.queried >= min(max((now - self.changed) / 10, QUERY_INTERVAL[0]), QUERY_INTERVAL[1]):
            self.queried = now
            self._replace_ended(workers)
        self._require_workers(now, any(workers.values()))

    async def _count_workers(self) -> dict[str, int]:
        """Registered workers of each submitted job; runs in the cluster's event loop."""
        names = Counter(re.sub(r"-\d+$", "", str(w.name)) if self.processes > 1 else str(w.name)
                        for w in self.cluster.scheduler.workers.values())  # fmt: skip
        for name, job in list(self.cluster.workers.items()):
            number = job.job_id or ""
            if name not in self.jobs or self.jobs[name].number != number:
                self.changed = time.monotonic()
                self.jobs[name] = WorkerJob(number, self.changed, job.refusal)
            if names[str(name)] and not self.jobs[name].had_workers:
                self.jobs[name].had_workers, self.failed_starts, self.changed = True, 0, time.monotonic()
        return {name: names[str(name)] for name in self.jobs}

    def _replace_ended(self, workers: Mapping[str, int]) -> None:
        """Query the batch scheduler, drop the jobs that have ended, and submit others."""
        self.states = job_states(self.config.kind, [job.number for job in self.jobs.values() if job.number])
        ended = [name for name, job in self.jobs.items() if self._has_ended(name, job, workers[name])]
        for name in ended:
            self._record_end(self.jobs[name])
        if ended:
            self.changed = self.dropped = time.monotonic()
            self.cluster.sync(self._drop, ended)
        if self.failed_starts >= MAX_FAILED_STARTS and not any(workers.values()):
            raise ClusterError(f"{self.last_end}; {self.failed_starts} jobs have ended so, and no worker came; {_SAFE}")
        delay = min(2.0**self.failed_starts, MAX_RESUBMIT_DELAY) if self.failed_starts else 0.0
        missing = len(self.jobs) < self.config.jobs
        if missing and not self._stopped.is_set() and time.monotonic() - self.dropped >= delay:
            self.cluster.scale(jobs=self.config.jobs)

    def _has_ended(self, name: str, job: WorkerJob, workers: int) -> bool:
        if job.refusal or name not in self.cluster.workers:
            return True
        if self.states is None:
            return False
        now = time.monotonic()
        if (state := self.states.get(job.number)) is None:
            return job.listed or now - job.submitted > VISIBLE_AFTER.get(self.config.kind, 10.0)
        job.listed = True
        if workers or not (job.had_workers and state.running):
            job.last_complete = now
        return job.had_workers and now - job.last_complete > WORKER_GRACE

    def _record_end(self, job: WorkerJob) -> None:
        """Log why a job ended, and keep the sentence for the case that no worker can be had."""
        if job.refusal:
            self.last_end = f"a worker job was refused: {job.refusal}"
        else:
            line = last_log_line(self.logs, job.number)
            log = f"its log in {self.logs} ends with: {line}" if line else f"it left no log in {self.logs}"
            self.last_end = (
                f"worker job {job.number} ended{'' if job.had_workers else ' before its worker came'}; {log}"
            )
        self.failed_starts += not job.had_workers
        logger.warning("%s", self.last_end)

    async def _drop(self, names: Iterable[str]) -> None:
        """Remove jobs from the cluster; runs in its event loop."""
        for name in names:
            del self.jobs[name]
            self.cluster.worker_spec.pop(name, None)
            if (job := self.cluster.workers.pop(name, None)) is not None:
                await job.close()

    def _require_workers(self, now: float, some: bool) -> None:
        pending = [(number, state) for number, state in (self.states or {}).items() if not state.running]
        if not some and pending and len(pending) == len(self.jobs) and all(state.never_starts for _, state in pending):
            number, state = pending[0]
            raise ClusterError(
                f"worker job {number} will never start: {state.reason}; compare options.walltime, cores, memory and "
                f"queue with the queue's limits; {_SAFE}"
            )
        if now - self.seen > self.config.wait:
            raise ClusterError(f"no worker for {now - self.seen:.0f} s (the key wait): {self._summary()}; {_SAFE}")
        if now - self.reported > REPORT_INTERVAL:
            self.reported = now
            logger.warning("%s", self._summary())

    def _summary(self) -> str:
        if self.states is None:
            return f"{self.config.kind} does not answer when asked for jobs"
        running = sum(state.running for state in self.states.values())
        reasons = Counter(state.reason for state in self.states.values() if not state.running)
        waiting = "".join(f", {count} waiting: {reason}" for reason, count in reasons.items())
        last = f"; last, {self.last_end}" if self.failed_starts else ""
        return f"{running} of {self.config.jobs} worker jobs run{waiting}{last}"
