"""Regular files alone and only up to a size: a pipe, a device or a huge file from a stranger stops no reader."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hsi_dask.errors import FileFormatError


def read_regular(path: Path, limit: int) -> bytes:
    """All bytes of a regular file, or of one that a link leads to.

    Parameters
    ----------
    path : path
    limit : int
        Most bytes that such a file can sensibly have.

    Raises
    ------
    FileFormatError
        A pipe, a device, a socket or a folder; or a file of more than `limit` bytes.
    OSError
        The system does not give it.

    Examples
    --------
    >>> read_regular(Path(os.devnull), 100)
    Traceback (most recent call last):
    hsi_dask.errors.FileFormatError: /dev/null is no regular file but a device; give a file
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer does not wait
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileFormatError(f"{path} is no regular file but a {_kind(status.st_mode)}; give a file")
        if status.st_size > limit:
            raise FileFormatError(f"{path} has {status.st_size} bytes, more than the {limit} that are read; split it")
        data = file.read(limit + 1)  # a file may grow meanwhile
    if len(data) > limit:
        raise FileFormatError(f"{path} grows beyond the {limit} bytes that are read; wait for its writer")
    return data


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in kinds.items() if test(mode)), "device")
