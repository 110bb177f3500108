"""Files that are whole or not there, also after kill -9 or a power cut: write aside, fsync, rename.

A folder may have been made by a stranger: below it no link is followed, and only regular files are read.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PART = ".part"  # suffix of what is not yet in place
_PIECE = 8 * 2**20  # bytes that are hashed at a time
_TRIES = 3  # of a file that another writer of the same name removed before it was in place
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC


def digest(data: Any) -> str:
    """sha256 of bytes, as hex, which `sha256sum` prints too: most processors have instructions for it."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | os.PathLike[str], read: Callable[[int], None] = lambda count: None) -> str:
    """sha256 of a file, as hex; `read` hears how many more bytes are through."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(_PIECE):
            found.update(data)
            read(len(data))
    return found.hexdigest()


def write_file(path: Path, data: Any) -> None:
    """Put bytes under a name: whole or not at all. What a killed writer left of the same name goes.

    The folder is not synced: do that once after the last file, with `sync_folders`.

    Raises
    ------
    OSError
        With the name of the file, also where the system says only that the disk is full.
    """
    for _ in range(_TRIES):
        for old in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
            old.unlink(missing_ok=True)
        # a name of its own: a worker that outlived its driver may be writing the same bytes at the same time
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PART}")
        try:
            with open(part, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            return
        except FileNotFoundError as error:
            lost = error  # that other worker took ours for a killed writer's
        except BaseException as error:
            with suppress(OSError):  # such as the one that brought us here
                part.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)
            raise
    raise lost


def sync_folders(folders: Iterable[Path]) -> None:
    """Make new and renamed entries of these folders survive a power cut."""
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_plain(root: Path, name: str, most: int) -> bytes:
    """The bytes of a regular file below a folder.

    Parameters
    ----------
    root : the folder; it may be a link itself
    name : relative, parts divided by "/"; none of them may be a link
    most : bytes; a larger file is refused

    Raises
    ------
    OSError
        With the file's name: it is not there, cannot be read, is too large, or is or lies behind a link, or is no
        regular file.
    """
    *folders, last = name.split("/")
    if not {"", ".", ".."}.isdisjoint((*folders, last)):
        raise _refusal(root / name, "its name leads elsewhere")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for at, part in enumerate(folders):
            folder = _entered(folder, part, root.joinpath(*folders[: at + 1]))
        # a pipe would keep a reader waiting for ever
        descriptor = _opened(last, os.O_RDONLY | os.O_NONBLOCK, folder, root / name)
    finally:
        os.close(folder)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(root / name))
        if not stat.S_ISREG(status.st_mode):
            raise _refusal(root / name, "it is no regular file")
        if status.st_size > most:
            raise _refusal(root / name, f"it has {status.st_size} bytes, more than such a file can have")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)  # `most` would be allocated, and a worker's share of memory is small
    finally:
        os.close(descriptor)


def _entered(folder: int, part: str, path: Path) -> int:
    """The descriptor of a folder in a folder, whose own is closed."""
    inner = _opened(part, os.O_RDONLY | os.O_DIRECTORY, folder, path)
    os.close(folder)
    return inner


def _opened(name: str, flags: int, folder: int, path: Path) -> int:
    try:
        return os.open(name, flags | _OPEN, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK) and path.is_symlink():
            raise _refusal(path, "it is a link, and may lead anywhere; put what it points to in its place") from None
        error.filename = str(path)
        raise


def _refusal(path: Path, reason: str) -> OSError:
    return OSError(errno.EPERM, reason, str(path))


def make_folder(root: Path, name: str) -> None:
    """Make a folder and those above it, below `root`. Raises OSError where one of them is a link or a file."""
    path = root
    for part in name.split("/"):
        path = path / part
        with suppress(FileExistsError):
            path.mkdir()
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise _refusal(path, "it is a link or a file where a folder should be")


def remove(path: Path) -> None:
    """Remove a folder with all it holds, or a file or link, as far as possible; nothing behind a link."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name, replacing what had it, once it is complete and on disk."""
    part = target.with_name(target.name + PART)
    remove(part)
    yield part
    for folder, _, names in os.walk(part):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folders([Path(folder)])
    remove(target)
    os.replace(part, target)
    sync_folders([target.parent])


def lock_alone(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; False where another process has it.

    True, too, where the file system has no locks: nobody knows there.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
