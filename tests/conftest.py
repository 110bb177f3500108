"""Fixtures of all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data, which is not part of the project; its tests skip where it is not there."""
    beside = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("HSI_DASK_TEST_DATA") or beside).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set HSI_DASK_TEST_DATA to the folder that holds them")
    return folder
