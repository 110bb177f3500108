"""Jobs to where they run: one after another in this process, or a bounded number at a time on a client."""

from __future__ import annotations

import errno
import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from hsi_dask.batch.tile import Advanced, Job
from hsi_dask.errors import ClusterError, HsiDaskError

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

Work = Callable[[Job, int, Advanced], Any]
Heard = Callable[[str, float], None]  # takes a tile's id and the finished fraction of its job
Full = Callable[[], bool]  # whether to begin no more jobs

SPARE = 2  # jobs in flight beyond one a worker: the next is there when a worker finishes
ATTEMPTS = 3  # of a job whose workers died: an innocent tile is not blamed for its node
# Without any worker for so long a run ends; long enough for a nanny to restart one, or a queue to start a job
PATIENCE = 300.0
_POLL = 2.0
# Not the tile's fault, and the next tile would meet it too; what concerns a file in the run directory is no tile's
# fault either
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class Failure(NamedTuple):
    """Why a job failed, in one sentence; fatal: so will every other."""

    reason: str
    fatal: bool = False


def carry_out(
    work: Work, jobs: Sequence[Job], *, client: Client | None, heard: Heard, full: Full = lambda: False
) -> Iterator[tuple[Job, Any]]:
    """Each job with its result or its Failure, as they finish; none is begun any more once `full` says so.

    Closing the iterator drops the rest.
    """
    if client is None:
        return _here(work, jobs, heard, full)
    return _on_client(work, jobs, client, heard, full)


def _here(work: Work, jobs: Sequence[Job], heard: Heard, full: Full) -> Iterator[tuple[Job, Any]]:
    threads = cores()
    for job in jobs:
        if full():
            return
        heard(job.tile.id, 0.0)
        yield job, _attempt(work, job, threads, partial(heard, job.tile.id))


def cores() -> int:
    """Threads of a process that works by itself: dask's own setting (DASK_NUM_WORKERS), or all cores it may use."""
    import dask
    from dask.system import CPU_COUNT

    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def _attempt(work: Work, job: Job, threads: int, advanced: Advanced) -> Any:
    try:
        return work(job, threads, advanced)
    except OSError as error:
        if isinstance(error, HsiDaskError):
            return Failure(str(error))
        if error.errno in _FATAL or _within(error.filename, job.run_dir):
            return Failure(f"{error.filename or job.run_dir}: {error.strerror}", fatal=True)
        return Failure(f"{job.tile.path}: {error}")
    except HsiDaskError as error:
        return Failure(str(error))
    except Exception as error:  # one tile's surprise must not end a site's run; the log keeps the traceback
        logger.exception("tile %s", job.tile.id)
        return Failure(f"{job.tile.path}: {type(error).__name__}: {error}")


def _within(name: object, folder: str) -> bool:
    return isinstance(name, str | os.PathLike) and bool(folder) and PurePath(name).is_relative_to(folder)


def _on_worker(work: Work, job: Job, topic: str) -> Any:
    """Runs in a worker process: its threads are the tile's, and its news go out as events."""
    from distributed import get_worker

    worker = get_worker()

    def advanced(fraction: float) -> None:
        worker.log_event(topic, {"tile": job.tile.id, "fraction": fraction})

    advanced(0.0)
    return _attempt(work, job, worker.state.nthreads, advanced)


def _on_client(work: Work, jobs: Sequence[Job], client: Client, heard: Heard, full: Full) -> Iterator[tuple[Job, Any]]:
    topic = f"hsi-dask-{uuid.uuid4().hex[:12]}"
    waiting, suspects = deque((job, 1) for job in jobs), deque[tuple[Job, int]]()
    flying: dict[Future[Any], tuple[Job, int]] = {}
    client.subscribe_topic(topic, lambda event: heard(event[1]["tile"], event[1]["fraction"]))
    watch = _Watch(client)
    try:
        while flying or ((waiting or suspects) and not full()):
            while not full() and (
                (waiting and len(flying) < watch.workers() + SPARE) or (suspects and not waiting and not flying)
            ):
                # a job whose worker died flies alone, after all others: then it is clear whose fault it is
                job, attempt = (waiting or suspects).popleft()
                key = f"{work.__name__}-{job.tile.id}-{uuid.uuid4().hex[:8]}"
                flying[client.submit(_on_worker, work, job, topic, key=key, pure=False)] = (job, attempt)
            for future in _finished(flying, watch):
                job, attempt = flying.pop(future)
                outcome = _outcome(future, job, attempt)
                future.release()  # receipts are small, but a site has thousands: the scheduler keeps none
                if outcome is None:
                    suspects.append((job, attempt + 1))
                else:
                    yield job, outcome
    except Exception:
        watch.require_scheduler()  # a lost connection shows in many ways; say it in one
        raise
    finally:
        if client.status == "running":
            client.unsubscribe_topic(topic)
            client.cancel(list(flying))


def _finished(flying: dict[Future[Any], tuple[Job, int]], watch: _Watch) -> list[Future[Any]]:
    from concurrent.futures import CancelledError

    from distributed import wait

    try:
        wait(list(flying), timeout=_POLL, return_when="FIRST_COMPLETED")
    except TimeoutError:
        watch.require_workers()
    except CancelledError:
        pass
    watch.require_scheduler()
    return [future for future in flying if future.done()]


def _outcome(future: Future[Any], job: Job, attempt: int) -> Any:
    """The job's result or Failure; None to try again because its worker, not the job, failed."""
    from distributed import KilledWorker

    if future.status == "finished":
        return future.result()
    error = future.exception() if future.status == "error" else None
    if error is not None and not isinstance(error, KilledWorker):
        return Failure(f"{job.tile.path}: {type(error).__name__}: {error}")
    if attempt < ATTEMPTS:
        logger.warning("tile %s: its workers died; attempt %d of %d follows", job.tile.id, attempt + 1, ATTEMPTS)
        return None
    return Failure(
        f"{job.tile.path}: the workers that held it died in {ATTEMPTS} attempts; see their logs, and give them more "
        "memory if the log says so"
    )


class _Watch:
    """Keeps an eye on the cluster, so that a run without workers ends with a sentence and not never."""

    def __init__(self, client: Client) -> None:
        import dask

        self.client = client
        # who started the workers may know that they have to wait in a queue, and watch over that
        self.patience = float(dask.config.get("hsi-dask.patience", PATIENCE))
        self.seen = time.monotonic()
        self.count = 0
        self.asked = -1e9

    def workers(self) -> int:
        """How many workers there are, asked at most every few seconds."""
        if time.monotonic() - self.asked > _POLL:
            self.require_scheduler()
            self.asked = time.monotonic()
            self.count = len(self.client.nthreads())
            if self.count:
                self.seen = self.asked
        return max(self.count, 1)

    def require_workers(self) -> None:
        self.workers()
        if (gone := time.monotonic() - self.seen) > self.patience:
            raise ClusterError(
                f"no worker for {gone:.0f} s; finished tiles are safe. Start workers, then run again to go on"
            )

    def require_scheduler(self) -> None:
        if self.client.status != "running":
            raise ClusterError(
                f"the scheduler is gone (client {self.client.status}); finished tiles are safe, run again to go on"
            )
