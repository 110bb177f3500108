"""How kernels are compiled, where their machine code is kept, and how long compiling takes.

numba keeps machine code in NUMBA_CACHE_DIR, else beside the source, else in the user's cache folder. Where none of
them can be written it goes to a private folder under the system's temporary one; where that fails too, every process
compiles for itself. A cache that cannot be read or written costs time, never the run.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import pickle
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import caching, event
from numpy.typing import DTypeLike, NDArray

logger = logging.getLogger(__name__)

Decorator = Callable[[Callable[..., Any]], Any]

_ADVICE = "set NUMBA_CACHE_DIR to a folder that can be written and that lasts, to compile once only"
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_njit: Any = numba.njit


def compiled(**options: Any) -> Decorator:
    """Decorator of functions that Python calls: without the GIL, machine code kept on disk. Options are numba's."""

    if hasattr(sys, "ps1"):  # a notebook, or Python's prompt: who waits there is told why
        _listener()

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = _njit(**_OPTIONS, **options)(function)
        try:
            dispatcher._cache = _Cache(function)
        except RuntimeError as error:  # NUMBA_CACHE_LOCATOR_CLASSES may leave no folder at all
            _warn_once(str(error))
        return dispatcher

    return decorate


def inner(**options: Any) -> Decorator:
    """Decorator of functions that only compiled ones call, at several places."""
    decorator: Decorator = _njit(**_OPTIONS, no_cpython_wrapper=True, **options)
    return decorator


def inlined() -> Decorator:
    """Decorator of functions that a compiled one calls at one place: compiled as a part of it, under its options.

    That takes half the time of compiling them by themselves.
    """
    return inner(inline="always")


def as_input(values: Any, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """A contiguous, read-only view, or copy: numba compiles anew for every other layout and for writable arrays."""
    array: NDArray[Any] = np.ascontiguousarray(values, dtype).view()
    array.flags.writeable = False
    return array


class CompileClock:
    """Time that this process spends compiling from now on, in any of its threads.

    Examples
    --------
    >>> clock = CompileClock()
    >>> clock.seconds, clock.running
    (0.0, False)
    """

    def __init__(self) -> None:
        self._compilations = _listener()
        self._before = self._compilations.seconds()

    @property
    def seconds(self) -> float:
        """Seconds spent so far, in the compilation under way too."""
        return self._compilations.seconds() - self._before

    @property
    def running(self) -> bool:
        """Whether a compilation is under way."""
        return self._compilations.depth > 0


@contextmanager
def compilations_told(changed: Callable[[bool], None]) -> Iterator[None]:
    """Context in which `changed` is called when this process begins to compile (True) and when it has ended (False)."""
    watchers = _listener().watchers
    watchers.append(changed)
    try:
        yield
    finally:
        watchers.remove(changed)


@contextmanager
def compiling_ahead() -> Iterator[CompileClock]:
    """Context for calls that are made to compile. Without the garbage collector, a sixth of the time is saved."""
    collects = gc.isenabled()
    gc.disable()  # numba makes millions of objects that last, and the collector looks through them again and again
    try:
        yield CompileClock()
    finally:
        if collects:
            gc.enable()


class _Compilations(event.Listener):
    """Adds up numba's compile events; one within another counts once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = self._since = 0.0
        self.depth = 0
        self.watchers: list[Callable[[bool], None]] = []

    def on_start(self, event: Any) -> None:
        with self._lock:
            begins = self.depth == 0
            if begins:
                self._since = time.perf_counter()
            self.depth += 1
        if begins:
            self._tell(True)
            if hasattr(sys, "ps1") and not self.watchers:
                _say_compiling()

    def on_end(self, event: Any) -> None:
        with self._lock:
            ends = self.depth == 1
            if ends:
                self._total += time.perf_counter() - self._since
            self.depth = max(0, self.depth - 1)  # the first clock may be made amid a compilation
        if ends:
            self._tell(False)

    def _tell(self, running: bool) -> None:
        for watcher in tuple(self.watchers):  # other threads may come and go
            watcher(running)

    def seconds(self) -> float:
        with self._lock:
            return self._total + (time.perf_counter() - self._since if self.depth else 0.0)


@cache
def _listener() -> _Compilations:
    """One for the process and never removed: numba's list must not shrink while another thread goes through it."""
    listener = _Compilations()
    event.register("numba:compile", listener)
    return listener


class _LastResort(caching._SourceFileBackedLocatorMixin, caching._CacheLocator):
    """The folder for machine code where numba finds none that can be written."""

    def __init__(self, function: Callable[..., Any], source: str) -> None:
        self._py_file, self._lineno = source, function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        folder = _private_folder()
        return str(folder / self.get_suitable_cache_subpath(self._py_file) if folder else _beside(self._py_file))

    @classmethod
    def from_function(cls, function: Callable[..., Any], source: str) -> _LastResort:
        return cls(function, source)


class _Folders(caching.CompileResultCacheImpl):
    """Which folder machine code is kept in."""

    _locator_classes = [*caching.CompileResultCacheImpl._locator_classes, _LastResort]  # noqa: RUF012  as in numba


class _Files(caching.IndexDataCacheFile):
    """One file for each compiled signature, named by all that it depends on.

    numba keeps an index of them, which every process that compiles reads, changes and writes: of two at once, one
    may load what the other compiled for other types or from another source.
    """

    def __init__(self, folder: str, function: str, source_stamp: object, *read_only: Path) -> None:
        super().__init__(folder, function, source_stamp)
        self._folders = (Path(folder), *read_only)
        self._function, self._release = function, f"{function}.{_digest((numba.__version__, source_stamp))}"

    def _file(self, key: object) -> str:
        return f"{self._release}.{_digest(key)}.nbc"

    def load(self, key: object) -> Any:
        for folder in self._folders:
            with suppress(FileNotFoundError):
                return pickle.loads((folder / self._file(key)).read_bytes())
        return None

    def save(self, key: object, data: object) -> None:
        with self._open_for_write(str(self._folders[0] / self._file(key))) as file:
            file.write(self._dump(data))
        for path in self._folders[0].glob(f"{self._function}.*.nbc"):
            if not path.name.startswith(self._release):  # of an earlier release
                path.unlink(missing_ok=True)

    def flush(self) -> None:
        for path in self._folders[0].glob(f"{self._function}.*.nbc"):
            path.unlink(missing_ok=True)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:20]


class _Cache(caching.FunctionCache):
    """numba's cache of a function, whose failures are none of the function."""

    _impl_class = _Folders

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        source = function.__code__.co_filename
        stamp = (self._impl.locator.get_source_stamp(), _sources())
        # whoever installed the package may have compiled ahead, in a folder that others can only read
        self._cache_file = _Files(self.cache_path, self._impl.filename_base, stamp, _beside(source))

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            return super().load_overload(signature, context)
        except Exception as error:  # whatever a torn file raises: compiling again is always right
            logger.debug("machine code in %s cannot be read (%s); compiling again", self.cache_path, error)

    def save_overload(self, signature: Any, result: Any) -> None:
        try:
            super().save_overload(signature, result)
        except OSError as error:
            _warn_once(f"{self.cache_path}: {error.strerror or error}")
            return
        if isinstance(self._impl.locator, _LastResort) and (folder := _private_folder()):
            _tell_once(folder)


def _beside(source: str) -> Path:
    return Path(source).parent / "__pycache__"


@cache
def _sources() -> str:
    """Of all kernels: machine code holds the inner functions of other modules too."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _warn_once(reason: str) -> None:
    logger.warning("compiled kernels cannot be kept (%s); %s", reason, _ADVICE)


@cache
def _private_folder() -> Path | None:
    """A folder under the temporary one that is this user's alone; None where that cannot be had."""
    try:
        folder = Path(tempfile.gettempdir()) / f"hsi-dask-numba-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()  # code is loaded from it, and anybody may have made it first, or a link
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        return None
    return folder


@cache
def _say_compiling() -> None:
    logger.warning("compiling (once for this machine)")


@cache
def _tell_once(folder: Path) -> None:
    logger.warning("compiled kernels are kept in %s, which may not last; %s", folder, _ADVICE)
