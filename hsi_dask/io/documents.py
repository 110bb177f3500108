"""Documents: JSON files that anyone may have written, read as typed values or refused in one sentence.

The schema of a document is a frozen dataclass: the fields are its keys, their types what the values must be, and
`Annotated[..., Form]` says more. A key that is missing or unknown is an error, unless the field has a default or the
class sets `OTHER_KEYS`. Every error is a RunError that names the file, the key, the value and what it must be.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import count, repeat
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hsi_dask.errors import RunError
from hsi_dask.io.durable import read_plain

T = TypeVar("T")

MOST_BYTES = 16 * 2**20  # of a document: a manifest of 50 000 tiles has 15 MB
_LONGEST = 10_000  # characters of a text
_MEND = "restore it from a copy, or start a new run directory"


@dataclass(frozen=True)
class Form:
    """What a value must be beyond its type, in words and as a test."""

    what: str
    holds: Callable[[Any], bool]


def between(low: float, high: float) -> Form:
    """A number from `low` to `high`, both included."""
    return Form(f"a number from {low:.10g} to {high:.10g}", lambda value: low <= value <= high)


def matching(pattern: str, what: str) -> Form:
    """A text that this regular expression matches as a whole."""
    compiled = re.compile(pattern)
    return Form(what, lambda value: compiled.fullmatch(value) is not None)


def _is_path(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return os.path.isabs(path) and "\0" not in path and len(path) <= 4096


Text = Annotated[str, Form(f"a text of at most {_LONGEST} characters", lambda value: len(value) <= _LONGEST)]
Name = Annotated[str, matching(r"[A-Za-z][\w.-]{0,99}", "a name")]
Digest = Annotated[str, matching(r"[0-9a-f]{64}", "a sha256 as 64 hexadecimal digits")]
InputPath = Annotated[str, Form("an absolute path", _is_path)]
Count = Annotated[int, between(0, 2**62)]
Seconds = Annotated[float, between(0, 1e10)]


def read_document(path: Path, kind: type[T], *, below: Path | None = None) -> T:
    """The document as this dataclass.

    Parameters
    ----------
    path : a regular file; a link, a device or a pipe is refused
    kind : a dataclass, or any other type that `as_typed` knows
    below : a folder above it, from which on no link is followed; by default its own folder

    Raises
    ------
    RunError
        It cannot be read, is no JSON, or is not of that type.
    """
    return as_typed(read_json(path, below=below), kind, path)


def read_json(path: Path, *, below: Path | None = None) -> Any:
    """What a JSON file holds, of whatever type. Raises RunError as `read_document` does."""
    text = read_text(path, below=below)
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged (not JSON: {error}); {_MEND}") from None


def read_text(path: Path, *, below: Path | None = None) -> str:
    """The text of a UTF-8 file. Raises RunError as `read_document` does."""
    root = below or path.parent
    try:
        return read_plain(root, path.relative_to(root).as_posix(), MOST_BYTES).decode()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); {_MEND}") from error
    except UnicodeDecodeError:
        raise RunError(f"{path} is damaged (it is not UTF-8 text); {_MEND}") from None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


# ------------------------------------------------------------------------------------------------ types


class _MismatchError(Exception):
    """A value that is not what it must be; the keys that lead to it are added from the inside out."""

    def __init__(self, value: Any, what: str) -> None:
        super().__init__(what)
        self.value, self.what, self.keys = value, what, list[int | str]()

    @property
    def where(self) -> str:
        """The keys as `tiles[3].id`."""
        steps = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in reversed(self.keys))
        return "".join(steps).lstrip(".") or "it"


def as_typed(value: Any, kind: type[T], path: Path) -> T:
    """A JSON value as this type: lists become tuples, objects dataclasses. `path` is the file that errors name.

    Known are dataclasses, NamedTuples, int, float, str, bool, None, Any, Literal, unions, tuple, Mapping[str, ...],
    dict[str, ...] and Annotated[..., Form].

    Raises
    ------
    RunError
        It is not of that type.

    Examples
    --------
    >>> as_typed([1, 2], tuple[Count, ...], Path("x.json"))
    (1, 2)
    >>> as_typed([1, -2], tuple[Count, ...], Path("x.json"))
    Traceback (most recent call last):
    hsi_dask.errors.RunError: x.json is damaged: [1] is -2, not a number from 0 to 4.611686018e+18; restore it from a
    copy, or start a new run directory
    """
    try:
        typed: T = _reader(kind)(value)  # type: ignore[arg-type]  # types are hashable
    except _MismatchError as error:
        said = f"{error.where} is {reprlib.repr(error.value)}, not {error.what}"
        raise RunError(f"{path} is damaged: {said}; {_MEND}") from None
    return typed


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a typed value of a JSON value; made once for each type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _formed(_reader(arguments[0]), arguments[1:])
    if origin is Literal:
        return _one_of(arguments)
    if origin in (Union, UnionType):
        return _any_of([_reader(one) for one in arguments], str(kind))
    if origin is tuple:
        return _tuple(arguments)
    if origin in (Mapping, dict):
        return _mapping(_reader(arguments[0]), _reader(arguments[1]))
    if is_dataclass(kind):
        return _dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, tuple):
        return _named_tuple(kind)
    return _plain(kind)


def _plain(kind: Any) -> Callable[[Any], Any]:
    if kind is Any:
        return lambda value: value
    what = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}[kind]
    types = (int, float) if kind is float else (kind,)

    def read(value: Any) -> Any:
        if type(value) not in types or (kind is float and not math.isfinite(value)):
            raise _MismatchError(value, what)
        return float(value) if kind is float else value

    return read


def _formed(inner: Callable[[Any], Any], forms: tuple[Form, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        found = inner(value)
        for form in forms:
            if not form.holds(found):
                raise _MismatchError(value, form.what)
        return found

    return read


def _one_of(values: tuple[Any, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not any(type(value) is type(one) and value == one for one in values):
            raise _MismatchError(value, " or ".join(map(repr, values)))
        return value

    return read


def _any_of(readers: list[Callable[[Any], Any]], what: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        for reader in readers:
            try:
                return reader(value)
            except _MismatchError as error:
                last = error
        raise _MismatchError(value, what) from last

    return read


def _each(steps: Iterable[tuple[int | str, Callable[[Any], Any], Any]]) -> Iterator[tuple[Any, Any]]:
    """Keys with their values typed; an error tells the key."""
    key: int | str = 0
    try:
        for key, reader, value in steps:
            yield key, reader(value)
    except _MismatchError as error:
        error.keys.append(key)
        raise


def _tuple(kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        one = _reader(kinds[0])
        return lambda value: tuple([typed for _, typed in _each(zip(count(), repeat(one), _list(value)))])
    readers = [_reader(kind) for kind in kinds]
    return lambda value: tuple([typed for _, typed in _each(zip(count(), readers, _list(value, len(readers))))])


def _named_tuple(kind: Any) -> Callable[[Any], Any]:
    read = _tuple(tuple(get_type_hints(kind, include_extras=True).values()))
    return lambda value: kind(*read(value))


def _list(value: Any, size: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (size is not None and len(value) != size):
        raise _MismatchError(value, "a list" if size is None else f"a list of {size}")
    return value


def _mapping(key: Callable[[Any], Any], one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        found = _object(value)
        for name in found:
            key(name)
        return dict(_each((name, one, part) for name, part in found.items()))

    return read


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _MismatchError(value, "an object of keys and values")
    return value


def _dataclass(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind, include_extras=True)
    readers = {one.name: _reader(hints[one.name]) for one in fields(kind)}
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
    others = getattr(kind, "OTHER_KEYS", False)

    def read(value: Any) -> Any:
        found = _object(value)
        if missing := sorted(needed - found.keys()):
            raise _MismatchError(value, f"complete: it has no {', '.join(missing)}")
        if not others and (unknown := sorted(found.keys() - readers.keys())):
            raise _MismatchError(value, f"free of other keys such as {reprlib.repr(unknown[0])}")
        return kind(**dict(_each((name, readers[name], found[name]) for name in found if name in readers)))

    return read
