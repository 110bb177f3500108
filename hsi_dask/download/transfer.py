"""One file from a store to its place: resumed by range, verified by checksum, renamed when it is whole."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, Literal

from hsi_dask.download.catalogue import RemoteFile
from hsi_dask.download.service import RefusedError, Service, reason, shown
from hsi_dask.errors import DownloadError
from hsi_dask.io.checksums import crc32c
from hsi_dask.io.durable import PART, lock_alone, sync_folders

logger = logging.getLogger(__name__)

Outcome = Literal["there", "downloaded"]
_READ = 2**20  # bytes at a time
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_MOST_WHOLE = 2  # downloads of a file whose checksum is wrong


def fetch(
    service: Service,
    file: RemoteFile,
    target: Path,
    *,
    renew: Callable[[RemoteFile], RemoteFile] = lambda file: file,
    arrived: Callable[[int], None] = lambda count: None,
) -> Outcome:
    """Bring a file to its place, unless it is there; what an earlier attempt left is gone on with.

    Parameters
    ----------
    target : its name in a folder that exists; until it is whole it ends with `.part`
    renew : the same file with a fresh address, asked for where a store refuses the old one
    arrived : hears how many bytes have arrived, or were thrown away

    Raises
    ------
    DownloadError
        It does not arrive whole, is not what its checksum says, or another process downloads it.
    """
    if is_there(file, target):
        arrived(file.size)
        return "there"
    part = target.with_name(target.name + PART)
    with _alone(part) as stream:
        arrived(os.fstat(stream.fileno()).st_size)
        wrong = ""
        for _ in range(_MOST_WHOLE):
            file = _completed(service, file, stream, renew, arrived)
            if not (wrong := difference(file, part)):
                os.fsync(stream.fileno())
                os.replace(part, target)
                sync_folders([target.parent])
                return "downloaded"
            logger.warning("%s: %s; it is downloaded anew", file.name, wrong)
            _shorten(stream, 0, arrived)
        part.unlink()
    raise DownloadError(f"{file.name} arrives damaged, {_MOST_WHOLE} times: {wrong}; try again later")


def lacking(file: RemoteFile, target: Path) -> int:
    """How many bytes of a file are still to come, by the sizes of what is there."""
    if target.is_file() and target.stat().st_size == file.size:
        return 0
    part = target.with_name(target.name + PART)
    have = part.stat().st_size if part.is_file() else 0
    return file.size - have if have <= file.size else file.size


def is_there(file: RemoteFile, target: Path) -> bool:
    """Whether a file is in its place, as its checksum says."""
    return target.is_file() and not difference(file, target)


def difference(file: RemoteFile, path: Path) -> str:
    """What speaks against a file being the one that NEON lists; "" where nothing does."""
    if (size := path.stat().st_size) != file.size:
        return f"it has {size} bytes, not {file.size}"
    for name, expected, own in (
        ("crc32c", file.crc32c, _crc32c), ("md5", file.md5, _md5), ("crc32", file.crc32, _crc32),
    ):  # fmt: skip
        if expected is not None:
            found = own(path)
            return "" if int(found, 16) == int(expected, 16) else f"its {name} is {found}, not {expected}"
    return ""


def _completed(
    service: Service,
    file: RemoteFile,
    stream: BinaryIO,
    renew: Callable[[RemoteFile], RemoteFile],
    arrived: Callable[[int], None],
) -> RemoteFile:
    """Append what a file lacks, in as many attempts as it takes as long as each brings something."""
    failed, fresh = 0, False
    while (have := os.fstat(stream.fileno()).st_size) != file.size:
        if have > file.size:
            _shorten(stream, 0, arrived)
            continue
        try:
            _append(service, file, stream, have, arrived)
            failure = "it ended early"
        except RefusedError as error:
            if fresh:
                raise
            if error.status == 416:  # it has not so many bytes
                _shorten(stream, 0, arrived)
            file, fresh = renew(file), True
            continue
        except _DiskError as error:
            raise DownloadError(f"{file.name} cannot be written: {error.strerror}; make room, and go on") from error
        except (HTTPException, OSError) as error:
            failure = reason(error)
        now = os.fstat(stream.fileno()).st_size
        failed, fresh = (failed + 1, fresh) if now <= have else (0, False)
        if failed >= service.attempts:
            raise DownloadError(f"{shown(file.url)} broke off {failed} times ({failure}); give the same command again")
        if now != file.size:
            logger.info("%s: %s after %d bytes; going on", file.name, failure, now)
            service.rest(failed + 1)
    return file


def _append(service: Service, file: RemoteFile, stream: BinaryIO, have: int, arrived: Callable[[int], None]) -> None:
    with service.open(file.url, have) as answer:
        if have and not _goes_on(answer, have):  # the store sends all of it
            _shorten(stream, 0, arrived)
            have = 0
        while block := answer.read1(min(_READ, file.size - have + 1)):
            have += len(block)
            _write(stream, block)
            arrived(len(block))
            if have > file.size:
                raise DownloadError(f"{shown(file.url)} sends more than the {file.size} bytes that NEON lists")


def _goes_on(answer: HTTPResponse, have: int) -> bool:
    """Whether an answer begins where what is there ends."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    return answer.status == 206 and found is not None and int(found[1]) == have


class _DiskError(OSError):
    """The disk, not the service, failed."""


def _write(stream: BinaryIO, block: bytes) -> None:
    try:
        stream.write(block)
        stream.flush()
    except OSError as error:
        raise _DiskError(error.errno, error.strerror) from error


def _shorten(stream: BinaryIO, size: int, arrived: Callable[[int], None]) -> None:
    """Throw away what lies beyond a size."""
    before = os.fstat(stream.fileno()).st_size
    os.ftruncate(stream.fileno(), size)
    stream.seek(0, os.SEEK_END)
    arrived(min(size - before, 0))


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO]:
    """The unfinished file, open at its end, and nobody else's."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        stream = open(os.open(part, flags, 0o666), "r+b")  # noqa: SIM115  closed below
    except OSError as error:
        raise DownloadError(f"{part} cannot be written: {error.strerror}; remove it, or give another --to") from error
    with stream:
        if not lock_alone(stream.fileno()):
            raise DownloadError(f"another process downloads {part}; wait for it")
        stream.seek(0, os.SEEK_END)
        yield stream


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(8 * _READ):
            yield block


def _crc32c(path: Path) -> str:
    value = 0
    for block in _blocks(path):
        value = crc32c(block, value)
    return f"{value:08x}"


def _crc32(path: Path) -> str:
    value = 0
    for block in _blocks(path):
        value = zlib.crc32(block, value)
    return f"{value:08x}"


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
