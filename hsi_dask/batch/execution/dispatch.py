"""Jobs to where they run: one after another in this process, or a bounded number at a time on a client."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from hsi_dask.batch.execution.tile import Job
from hsi_dask.batch.observer import Advanced, Observer
from hsi_dask.batch.stalls import Moves, Patience, Stand, elsewhere, free, standing, stands
from hsi_dask.errors import ClusterError, HsiDaskError, RunError
from hsi_dask.limits import Limits

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

Task = Callable[[Job, int, Advanced], Any]
ShouldStop = Callable[[], bool]  # whether to begin no more jobs

SPARE = 2  # jobs in flight beyond one a worker: the next is there when a worker finishes
MEND = "make room or restore access, and run again to go on"
ATTEMPTS = 3  # of a job whose workers died: an innocent tile is not blamed for its node
_POLL = 2.0
LOOK = 1.0  # seconds between looks at a tile in this process
# Grace period in seconds: a process that exits while a thread is inside HDF5 leaves its lock held and hangs at shutdown
LET_GO = 5.0
_ASIDE = "this process cannot put it aside, workers can (--cluster, see cluster_configs/local.yaml)"
_LOOK = "look whether its file system answers, and run again"
# Not the tile's fault, and the next tile would meet it too; what concerns a file in the run directory is no tile's
# fault either
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


_running: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class Failure(NamedTuple):
    """Why a job failed, in one sentence; fatal: so will every other."""

    reason: str
    fatal: bool = False


def raise_if_fatal(failure: Failure) -> None:
    """RunError for a failure that every other tile would meet too."""
    if failure.fatal:
        raise RunError(f"{failure.reason}; finished tiles are safe, {MEND}")


@dataclass(frozen=True)
class Workers:
    """Where jobs are computed (this process, or the workers of a client), the run's observer, and its time limits."""

    client: Client | None = None
    observer: Observer = field(default_factory=Observer)
    limits: Limits = field(default_factory=Limits)


def carry_out(
    task: Task, jobs: Sequence[Job], workers: Workers, *, should_stop: ShouldStop = lambda: False
) -> Iterator[tuple[Job, Any]]:
    """Each job with its result or its Failure, as they finish; none is begun any more once `should_stop` says so.

    Closing the iterator drops the rest.
    """
    if workers.client is None:
        return _here(task, jobs, workers, should_stop)
    return _on_client(task, jobs, workers.client, workers, should_stop)


def _here(task: Task, jobs: Sequence[Job], workers: Workers, should_stop: ShouldStop) -> Iterator[tuple[Job, Any]]:
    threads = cores()
    for job in jobs:
        if should_stop():
            return
        yield job, _alone(task, job, threads, workers)


def _alone(task: Task, job: Job, threads: int, workers: Workers) -> Any:
    """A job in a thread of its own, so that Ctrl-C reaches this one while a read does not return.

    Threads cannot be killed; this one stops at its next progress report. Where it makes none for long the run ends,
    and the thread with the process.
    """
    outcome: ThreadFuture[Any] = ThreadFuture()
    patience, left, compilations = Patience(), threading.Event(), [0]

    def advanced(fraction: float) -> None:
        if left.is_set():
            raise KeyboardInterrupt
        patience.moved()
        workers.observer.tile_advanced(job.tile.id, fraction)

    def compiling(running: bool) -> None:
        compilations[0] += 1 if running else -1
        workers.observer.compiling(job.tile.id, running)

    def compute() -> None:
        try:
            outcome.set_result(_attempt(task, job, threads, advanced, compiling))
        except BaseException as error:
            outcome.set_exception(error)

    try:
        thread = threading.Thread(target=compute, name="hsi-dask tile", daemon=True)
        thread.start()
        _running.add(thread)
        while not wait([outcome], timeout=LOOK).done:
            if compilations[0] > 0:
                patience.moved()
            if patience.look(f"tile {job.tile.id} ({job.tile.path})") > workers.limits.stuck:
                return Failure(f"{job.tile.path}: {stands(patience.last)}; {_ASIDE}", fatal=True)
        return outcome.result()
    finally:
        left.set()
        wait([outcome], timeout=LET_GO)


def has_running_tile() -> bool:
    """Whether a tile's thread is still alive: at the end of the program it is in a read that never returns."""
    return any(thread.is_alive() for thread in _running)


def cores() -> int:
    """Threads of a process without a client: dask's own setting (DASK_NUM_WORKERS), or all cores it may use."""
    import dask
    from dask.system import CPU_COUNT

    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def _attempt(task: Task, job: Job, threads: int, advanced: Advanced, compiling: Callable[[bool], None]) -> Any:
    from hsi_dask.kernels.compiled import compilations_told  # numba takes a second: only where tiles are computed

    try:
        with compilations_told(compiling):
            return task(job, threads, advanced)
    except OSError as error:
        if isinstance(error, HsiDaskError):
            return Failure(str(error))
        if error.errno in _FATAL or _within(error.filename, job.run_dir):
            return Failure(f"{error.filename or job.run_dir}: {error.strerror}", fatal=True)
        return Failure(f"{job.tile.path}: {error}")
    except HsiDaskError as error:
        return Failure(str(error))
    except MemoryError:  # numpy says how much, others nothing
        logger.exception("tile %s", job.tile.id)
        return Failure(f"{job.tile.path}: there was no memory left for it; give workers more, or run fewer at a time")
    except Exception as error:  # one tile's surprise must not end a site's run; the log keeps the traceback
        logger.exception("tile %s", job.tile.id)
        return Failure(f"{job.tile.path}: {type(error).__name__}: {error}")


def _within(name: object, folder: str) -> bool:
    return isinstance(name, str | os.PathLike) and bool(folder) and PurePath(name).is_relative_to(folder)


def _on_worker(task: Task, job: Job, topic: str) -> Any:
    """Runs in a worker process: all its threads compute the tile, and its progress is logged as events."""
    from distributed import get_worker

    worker = get_worker()
    news = {"tile": job.tile.id, "worker": worker.address, "place": f"{worker.name} at {socket.gethostname()}"}

    def advanced(fraction: float) -> None:
        worker.log_event(topic, news | {"fraction": fraction})

    def compiling(running: bool) -> None:
        worker.log_event(topic, news | {"compiling": running})

    return _attempt(task, job, worker.state.nthreads, advanced, compiling)


def _on_client(
    task: Task, jobs: Sequence[Job], client: Client, workers: Workers, should_stop: ShouldStop
) -> Iterator[tuple[Job, Any]]:
    from distributed.comm.core import CommClosedError

    topic = f"hsi-dask-{uuid.uuid4().hex[:12]}"
    waiting, suspects = deque((job, 1) for job in jobs), deque[tuple[Job, int]]()
    in_flight: dict[Future[Any], tuple[Job, int]] = {}
    watch, moves = _Watch(client, workers.limits.patience), Moves(workers.limits.stuck)
    stood: dict[str, Stand] = {}  # tiles that stood still once, and where

    def listen(event: Any) -> None:
        news = event[1]
        moves.moved(news["tile"], news["worker"], news["place"])
        if "compiling" in news:
            workers.observer.compiling(news["tile"], news["compiling"])
        else:
            workers.observer.tile_advanced(news["tile"], news["fraction"])

    client.subscribe_topic(topic, listen)
    try:
        while in_flight or ((waiting or suspects) and not should_stop()):
            while not should_stop() and (
                (waiting and len(in_flight) < watch.workers() + SPARE) or (suspects and not waiting and not in_flight)
            ):
                # a job whose worker died flies alone, after all others: then it is clear whose fault it is
                job, attempt = (waiting or suspects).popleft()
                key = f"{task.__name__}-{job.tile.id}-{uuid.uuid4().hex[:8]}"
                where = elsewhere(client, stood[job.tile.id].worker) if job.tile.id in stood else None
                future = client.submit(
                    _on_worker, task, job, topic, key=key, pure=False, workers=where, allow_other_workers=bool(where)
                )
                in_flight[future] = (job, attempt)
            for future in _finished(in_flight, watch):
                job, attempt = in_flight.pop(future)
                outcome = _outcome(future, job, attempt)
                moves.ended(job.tile.id, by_itself=outcome is not None)
                future.release()  # receipts are small, but a site has thousands: the scheduler keeps none
                if outcome is None:
                    suspects.append((job, attempt + 1))
                else:
                    yield job, outcome
            for future, stand in _put_aside(in_flight, client, moves).items():
                job, attempt = in_flight.pop(future)
                if (before := stood.get(job.tile.id)) is None:
                    stood[job.tile.id] = stand
                    waiting.append((job, attempt))  # after all others: its file system may be back by then
                else:
                    yield job, Failure(f"{job.tile.path}: {before.told}, and again {stand.told}; {_LOOK}")
    except Exception as error:  # a lost connection shows in many ways; say it in one
        watch.require_scheduler(lost=isinstance(error, CommClosedError))
        raise
    finally:
        if client.status == "running":
            client.unsubscribe_topic(topic)
            client.cancel(list(in_flight))


def _put_aside(in_flight: dict[Future[Any], tuple[Job, int]], client: Client, moves: Moves) -> dict[Future[Any], Stand]:
    """Jobs that stand still, taken back from their workers, which are restarted."""
    futures = {job.tile.id: future for future, (job, _) in in_flight.items() if not future.done()}
    still = standing(client, moves, {tile: str(future.key) for tile, future in futures.items()})
    if still:
        for tile, stand in still.items():
            logger.warning("tile %s %s; the worker is restarted", tile, stand.told)
            moves.ended(tile, by_itself=False)
        client.cancel([futures[tile] for tile in still])
        free(client, {stand.worker for stand in still.values()})
    return {futures[tile]: stand for tile, stand in still.items()}


def _finished(in_flight: dict[Future[Any], tuple[Job, int]], watch: _Watch) -> list[Future[Any]]:
    from distributed import wait as wait_for

    try:
        wait_for(list(in_flight), timeout=_POLL, return_when="FIRST_COMPLETED")
    except TimeoutError:
        watch.require_workers()
    except CancelledError:
        pass
    watch.require_scheduler()
    return [future for future in in_flight if future.done()]


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

    def __init__(self, client: Client, patience: float) -> None:
        self.client, self.patience = client, patience
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

    def require_scheduler(self, lost: bool = False) -> None:
        if lost or self.client.status != "running":  # the client may learn of it later than who is waiting
            raise ClusterError(
                f"the scheduler is gone (client {self.client.status}); finished tiles are safe, run again to go on"
            )
