"""Slow work behind an interactive page: one thing at a time, and its result is shown by the page's own thread."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from bokeh.document import Document

Found = TypeVar("Found")


_open: weakref.WeakSet[Background] = weakref.WeakSet()


class Background:
    """A thread that reads tiles, so that the page answers meanwhile."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.pool = ThreadPoolExecutor(1)
        _open.add(self)

    def later(self, do: Callable[[], Found], then: Callable[[Found], None]) -> None:
        """Do something, then something with what it gave."""

        def compute() -> None:
            found = do()
            self.document.add_next_tick_callback(lambda: then(found))

        self.pool.submit(compute)

    def end(self) -> None:
        """Nothing more is begun."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def end_all() -> None:
    """Nothing more is begun behind any page: at the end of the program Python waits for all that is queued."""
    for background in tuple(_open):
        background.end()
