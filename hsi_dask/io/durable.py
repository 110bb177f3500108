"""Files that are whole or not there, also after kill -9 or a power cut: write aside, fsync, rename."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PART = ".part"  # suffix of what is not yet in place
_TRIES = 3  # of a file that another writer of the same name removed before it was in place


def digest(data: Any) -> str:
    """sha256 of bytes, as hex, which `sha256sum` prints too: most processors have instructions for it."""
    return hashlib.sha256(data).hexdigest()


def write_file(path: Path, data: Any) -> None:
    """Put bytes under a name: whole or not at all. What a killed writer left of the same name goes.

    The folder is not synced: do that once after the last file, with `sync_folders`.

    Raises
    ------
    OSError
        With the name of the file, also where the system says only that the disk is full.
    """
    for _ in range(_TRIES):
        for old in path.parent.glob(f".{path.name}.*{PART}"):
            old.unlink(missing_ok=True)
        # a name of its own: a worker that outlived its driver may be writing the same bytes at the same time
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PART}")
        try:
            with open(part, "wb") as file:
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


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name, replacing what had it, once it is complete and on disk."""
    part = target.with_name(target.name + PART)
    shutil.rmtree(part, ignore_errors=True)
    yield part
    for folder, _, names in os.walk(part):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folders([Path(folder)])
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    sync_folders([target.parent])
