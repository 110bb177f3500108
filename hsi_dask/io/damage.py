"""Damaged bytes of a run's maps, in a sentence that names the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hsi_dask.errors import HsiDaskError, RunError


@contextmanager
def damage_named(*paths: str | os.PathLike[str]) -> Iterator[None]:
    """Raise RunError that names these runs or stores for whatever a codec makes of bytes that are damaged.

    To be put around reading alone: errors of the machine, and sentences, stay as they are.
    """
    try:
        yield
    except (HsiDaskError, OSError, MemoryError):
        raise
    except Exception as error:
        which = " or ".join(os.fspath(path) for path in paths)
        raise RunError(
            f"a map of {which} cannot be read ({error}); `hsi-dask verify` names the damaged tile"
        ) from error
