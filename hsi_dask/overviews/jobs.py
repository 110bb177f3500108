"""Work in threads that tells which share of it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from hsi_dask.batch.observer import Advanced

Job = TypeVar("Job")
Found = TypeVar("Found")


@dataclass
class Stages:
    """Stages of jobs, one after another, `total` by weight; `advanced` runs in the thread that consumes results."""

    pool: Executor
    total: float
    advanced: Advanced
    done: float = 0.0

    def map(self, do: Callable[[Job], Found], jobs: Iterable[Job], weight: float = 1.0) -> Iterator[Found]:
        """Results in the order of the jobs; raises what a job raised."""
        for found in self.pool.map(do, jobs):
            self.done += weight
            self.advanced(min(self.done / self.total, 1.0))
            yield found
