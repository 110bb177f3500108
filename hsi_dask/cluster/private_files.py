"""Folders and files of the user's own in scratch that others can write to, where names can be guessed.

Another user may have made a folder, a file or a link of an expected name first: job scripts would run, logs and keys
would be read, in a place of theirs.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hsi_dask.errors import ClusterError, ConfigError

LOG_FOLDER = "hsi-dask-jobs"  # job scripts, logs, and certificates while a run goes on
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def private_folder(path: str | os.PathLike[str], option: str) -> Path:
    """The user's own folder of this name, made with mode 0700 where it is missing.

    Raises
    ------
    ConfigError
        It is, or is a link of, another user's, or others can write to it; the sentence names the option to set.
    """
    folder, status = _made(path, option)
    for found in (os.lstat(folder), status):  # a link of the user's own is welcome
        if found.st_uid != os.geteuid():
            kind = "link" if stat.S_ISLNK(found.st_mode) else "folder"
            raise ConfigError(f"{folder} is a {kind} of another user (id {found.st_uid}); set {option} to another")
    if (mode := stat.S_IMODE(status.st_mode)) & 0o022:
        raise ConfigError(f"{folder} can be written by others (mode {mode:04o}); chmod go-w it, or set {option}")
    shared_folder(folder.parent, option)
    return folder


def shared_folder(path: str | os.PathLike[str], option: str) -> Path:
    """A folder for private ones with random names; others may write to it too, as to /tmp.

    Raises
    ------
    ConfigError
        It has no sticky bit, and everybody could replace what is in it.
    """
    folder, status = _made(path, option)
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise ConfigError(f"in {folder} everybody can replace files (no sticky bit); chmod o-w it, or set {option}")
    return folder


def _made(path: str | os.PathLike[str], option: str) -> tuple[Path, os.stat_result]:
    folder = Path(path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder, os.stat(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}); set {option} to another") from error


def is_private(path: str | os.PathLike[str]) -> bool:
    """A folder, no link, that only this user can enter, list and write to."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def create_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a new file; one that exists, or a link in its place, is an error."""
    try:
        with open(os.open(path, _NEW, mode), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ClusterError(f"{path} cannot be written: {error.strerror}") from error
