"""What a verb writes to: a terminal, a file or a pipe that shows foreign text safely and may go away.

Progress is not the work: a stderr that is lost (a session that ended, a closed pipe, a full disk) ends nothing. Results
on stdout that a reader no longer wants (`| head`) are dropped, and the work goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from hsi_dask.escaping import visible_lines

# Nobody will read there again: the reader of a pipe has ended, the terminal is gone, the stream is closed
_GONE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ESTALE}


class Lasting:
    """A text stream that outlives what is behind it: writing never raises, and `lost` keeps the first reason.

    Characters that its encoding lacks become escapes. Everything else is the stream's own.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        encoding = self.stream.encoding or "utf-8"
        self._keep_on(lambda: self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding)))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._keep_on(self.stream.flush)

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody reads there any more."""
        return self.lost is not None and self.lost.errno in _GONE

    def settle(self) -> None:
        """Flush for the last time; what cannot be written is given up, so that the interpreter's own end succeeds."""
        self.flush()
        if self.lost:
            _give_up(self.stream)

    def _keep_on(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            self.lost = self.lost or error
            if error.errno in _GONE:
                _give_up(self.stream)
        except ValueError as error:  # closed by somebody in this process
            self.lost = self.lost or OSError(errno.EBADF, str(error))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Shown(Lasting):
    """A lasting stream that shows control characters instead of sending them; `plain` sends them, for a live bar."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.plain = Lasting(stream)

    def write(self, text: str) -> int:
        return super().write(visible_lines(text))


@contextlib.contextmanager
def lasting_streams() -> Iterator[tuple[Shown, Shown]]:
    """stdout and stderr as such streams."""
    _open_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = (Shown(stream or nowhere) for stream in before)  # None where the interpreter found it closed
        sys.stdout, sys.stderr = out, err
        try:
            yield out, err
        finally:
            sys.stdout, sys.stderr = before
            for stream in (out, err.plain, err):
                stream.settle()


def _open_descriptors() -> None:
    """Where 0, 1 or 2 is closed, as in some daemons, the next file opened would get it, and libraries' messages."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _give_up(stream: TextIO) -> None:
    """What is still buffered, and all that follows, goes nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
