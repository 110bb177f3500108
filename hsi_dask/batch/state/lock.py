"""Who may work in a run directory: one whole run, or parts of it side by side, each once.

A lock is flock's: it ends with its process, however that ends. On NFS and Lustre flock reaches other machines only
where the mount says so; where it does not, a whole run warns, and of the parts only the first makes what all need.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hsi_dask.errors import ConfigError, RunError
from hsi_dask.escaping import visible

logger = logging.getLogger(__name__)

LOCK, PARTS = "lock", "parts"
MOMENT = 1.0  # seconds; `activity` holds a lock for less, while it looks
STARTUP_SECONDS = 120.0  # a starting part reads and writes a manifest; NFS frees a lost client's lock in 90 s
SETUP_SECONDS = 3600.0  # finding a site's endmembers takes minutes; a part that waits longer says so and ends
_POLL = 0.5
_SIGNATURE = 500  # characters of who holds a lock
_MOUNTS = Path("/proc/self/mounts")
_HELD = {errno.EWOULDBLOCK, errno.EACCES}
# Mounts on which flock succeeds, but is seen by this machine only: file system -> options that say so
_LOCAL_ONLY = {
    "nfs": {"local_lock=all", "local_lock=flock", "nolock"},
    "nfs4": {"local_lock=all", "local_lock=flock"},
    "lustre": {"localflock"},
    "cifs": {"nobrl"},
}


@dataclass(frozen=True)
class Part:
    """One of `of` processes that share the tiles of a run without knowing of each other; counts from 1.

    Examples
    --------
    >>> Part.parse("2/3").share(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            last = max(self.of, 1)
            raise ConfigError(f"part {self} does not exist; give one of 1/{last} to {last}/{last}")

    @classmethod
    def parse(cls, text: str) -> Part:
        """The part that `I/N` means."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not found:
            raise ConfigError(f"part is {text!r}; it must be I/N, such as 1/4 for the first of four")
        return cls(int(found[1]), int(found[2]))

    def share(self, names: list[str]) -> list[str]:
        """Every `of`-th name: neighbours go to different parts, so that an empty corner of a site is shared too."""
        return names[self.number - 1 :: self.of]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


class _NoLocksError(Exception):
    """The file system has no locks; the message is its reason."""


# ------------------------------------------------------------------------------------------------ locks


@contextmanager
def held_whole(path: Path) -> Iterator[None]:
    """The directory for one whole run."""
    with _opened(path / LOCK) as file:
        try:
            if not _await(lambda: _flock(file, fcntl.LOCK_EX), MOMENT):
                raise RunError(f"{path} is in use by {_holder(file)}; wait for it, or give another --out folder")
            _sign(file, _me())
        except _NoLocksError as reason:
            logger.warning("%s cannot be locked (%s); do not start a second run on it", path, reason)
        yield


@contextmanager
def startup(path: Path) -> Iterator[None]:
    """Serialises the start-up of concurrent parts."""
    with _opened(path / PARTS / "door") as file:
        try:
            if not _await(lambda: _flock(file, fcntl.LOCK_EX), STARTUP_SECONDS):
                raise RunError(f"{path} is being entered by {_holder(file)} for {STARTUP_SECONDS:.0f} s; end that one")
            _sign(file, _me())
        except _NoLocksError:
            pass  # `unshared` says so
        yield


@contextmanager
def held_part(path: Path, part: Part) -> Iterator[None]:
    """The directory for this part, beside other parts of the same number; to be called within `startup`.

    The first part writes into the lock how many there are; the lock is held until the last one ends.
    """
    mine = path / PARTS / f"{part.number}-of-{part.of}"
    with _opened(path / LOCK) as run_lock, _opened(mine) as part_lock:

        def entered() -> bool:
            if first := _flock(run_lock, fcntl.LOCK_EX):
                _sign(run_lock, f"{_parts(part)}, the first of them {_me()}")
            return _flock(run_lock, fcntl.LOCK_SH) and (first or _holder(run_lock).startswith(_parts(part) + ","))

        try:
            if not _await(entered, MOMENT):
                raise RunError(f"{path} is in use by {_holder(run_lock)}; wait for that, or give another --out folder")
            if not _await(lambda: _flock(part_lock, fcntl.LOCK_EX), MOMENT):
                raise RunError(
                    f"part {part} of {path} is in use by {_holder(part_lock)}; wait for it, or start another part"
                )
            _sign(part_lock, _me())
        except _NoLocksError:
            pass  # `unshared` says so
        yield


@contextmanager
def turn(path: Path, part: Part, ready: Callable[[], bool], say: Callable[[str], None]) -> Iterator[None]:
    """Enters when what all parts need is ready, or when this part is the one to make it.

    Raises
    ------
    RunError
        Nothing was made within `SETUP_SECONDS`.
    """
    if ready():
        yield
        return
    alone = bool(unshared(path))
    with _opened(path / PARTS / "setup") as file:

        def mine() -> bool:
            return part.number == 1 if alone else _flock(file, fcntl.LOCK_EX)

        if not mine():
            say(f"another part is finding the endmembers; waiting for it, up to {SETUP_SECONDS / 60:.0f} minutes")
            if not _await(lambda: ready() or mine(), SETUP_SECONDS):
                who = "part 1" if alone else _holder(file)
                raise RunError(
                    f"{path} has no endmembers after {SETUP_SECONDS / 60:.0f} minutes; see what {who} does, or start it"
                )
        elif not ready():
            _sign(file, f"part {part}, {_me()}")
        yield


def await_first(made: Callable[[], bool], path: Path) -> None:
    """Wait for what part 1 makes, where locks do not work."""
    if not _await(made, SETUP_SECONDS):
        raise RunError(
            f"{path} cannot be locked by parts ({unshared(path)}), so that part 1 makes the run and the others wait; "
            f"it did not within {SETUP_SECONDS / 60:.0f} minutes: start it"
        )


def activity(path: Path) -> str:
    """Who works in the directory now, as far as can be told; "" where nobody does. Changes nothing there."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | flags)
    except FileNotFoundError:
        return ""
    except OSError:  # somebody else's run, which one may only read
        try:
            descriptor = os.open(path / LOCK, os.O_RDONLY | flags)
        except OSError:
            return "a process that cannot be seen"
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        try:
            if not _flock(file, fcntl.LOCK_EX):
                return _holder(file)
        except _NoLocksError as reason:
            return f"perhaps a process ({reason})"
    elsewhere = _not_shared_by(path)
    return f"perhaps a process on another machine ({elsewhere})" if elsewhere else ""


def unshared(path: Path) -> str:
    """Why locks in this directory do not keep processes on other machines apart; "" where they do."""
    probe = path / PARTS / f".{socket.gethostname()}-{os.getpid()}.part"
    try:
        with _opened(probe) as file:
            _flock(file, fcntl.LOCK_EX)
    except _NoLocksError as reason:
        return f"the file system has no locks: {reason}"
    finally:
        probe.unlink(missing_ok=True)
    return _not_shared_by(path)


def _not_shared_by(path: Path) -> str:
    """The mount that keeps locks to this machine; "" where there is none."""
    kind, options = _mount(path)
    if local := sorted(_LOCAL_ONLY.get(kind, set()) & options):
        return f"it is on {kind} mounted with {local[0]}"
    return ""


def _mount(path: Path) -> tuple[str, set[str]]:
    """File system and mount options of where this path lies; nothing where the system does not tell."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", set()
    place = Path(os.path.realpath(path))
    found, depth = ("", set[str]()), -1
    for line in lines:  # a later mount hides an earlier one
        _, where, kind, options, *_ = line.split(" ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), where))
        if place.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = (kind, set(options.split(","))), len(point.parts)
    return found


# ------------------------------------------------------------------------------------------------ lock files


def _opened(path: Path) -> IO[str]:
    """A lock file, made if need be; never what a link points to, and never a pipe, which would not let go."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(path, flags, 0o666), "r+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); choose another --out folder") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise RunError(f"{path} is no regular file; remove it, or choose another --out folder")
    return file


def _flock(file: IO[str], kind: int) -> bool:
    """False where another process holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise _NoLocksError(error.strerror) from error
    return True


def _await(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(_POLL)
    return met


def _sign(file: IO[str], text: str) -> None:
    """Write into the lock file who holds it; not on a full disk."""
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"{text}\n".encode(errors="replace"))


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return visible(file.read(_SIGNATURE).strip()) or "another process"


def _parts(part: Part) -> str:
    return f"its {part.of} parts"


def _me() -> str:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"process {os.getpid()} on {socket.gethostname()} since {since}"
