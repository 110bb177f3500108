"""Spectral libraries that are installed as packages and asked for by name; nothing of theirs is imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from hsi_dask.errors import EndmemberError

LIBRARIES = {"earthlib": Path("data", "spectra.sli")}  # by package the library in it


def library_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file, or of the library that is installed under this name; a file of that name wins.

    Raises
    ------
    EndmemberError
        The library is known, but not installed.

    Examples
    --------
    >>> library_path("/data/library.csv")
    PosixPath('/data/library.csv')
    """
    name = os.fspath(path)
    where = Path(os.path.abspath(os.path.expanduser(name)))
    if name not in LIBRARIES or where.exists():
        return where
    spec = find_spec(name)
    folder = next(iter((spec.submodule_search_locations if spec else None) or ()), None)
    if folder is None:
        raise EndmemberError(
            f'the library {name} is not installed; get it with: pip install "hsi-dask[{name}]", or give a file'
        )
    return Path(folder) / LIBRARIES[name]


def kept_name(path: str) -> str:
    """What a configuration keeps: the name of an installed library, which lies elsewhere on another machine, or a path.

    Examples
    --------
    >>> kept_name("earthlib")
    'earthlib'
    """
    where = os.path.abspath(os.path.expanduser(path))
    return path if path in LIBRARIES and not os.path.exists(where) else where
