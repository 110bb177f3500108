"""Regular files against what a path may be instead."""

import os
from pathlib import Path

import pytest

from hsi_dask.errors import FileFormatError
from hsi_dask.io.regular import read_regular


def test_a_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"spectra")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "file", 7) == read_regular(tmp_path / "link", 7) == b"spectra"


def test_pipes_devices_and_folders_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in {"pipe": "pipe", "zero": "device"}.items():
        with pytest.raises(FileFormatError, match=f"{name} is no regular file but a {kind}; give a file"):
            read_regular(tmp_path / name, 100)
    with pytest.raises((FileFormatError, IsADirectoryError)):
        read_regular(tmp_path, 100)


def test_a_file_of_more_bytes_than_can_be_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(FileFormatError, match="sparse has 1099511627776 bytes, more than the 100 that are read"):
        read_regular(tmp_path / "sparse", 100)
