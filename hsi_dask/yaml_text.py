"""YAML that anybody may have written: bounded in size and depth, without aliases, and errors in one sentence.

Five hundred bytes of aliases can stand for terabytes ("billion laughs"), and a value that an error quotes may be long
or hold control characters. Only what JSON knows is read: mappings, lists, text, numbers, true and false, null.
"""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from hsi_dask.errors import ConfigError

MAX_CHARACTERS = 1_000_000  # the paths of ten thousand tiles
MAX_DEPTH = 20  # a configuration has four levels
MAX_DIGITS = 100  # of a number: longer ones take time that grows with the square of their length
_Scanner: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


def load(text: str) -> dict[str, Any]:
    """The mapping in a YAML text; empty for a text without any.

    Raises
    ------
    ConfigError
        No YAML, no mapping, an anchor or alias, or more than 1 000 000 characters or 20 levels.

    Examples
    --------
    >>> load("count: 3  # endmembers")
    {'count': 3}
    >>> load("a: &a [lol, lol]")
    Traceback (most recent call last):
    hsi_dask.errors.ConfigError: line 1: &a is an anchor, and aliases are not read; write the value where it is used
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"a configuration of more than {MAX_CHARACTERS} characters is not read")
    try:
        _require_plain(yaml.parse(text, _Scanner))
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise ConfigError(f"{f'line {mark.line + 1}: ' if mark else ''}not YAML: {str(problem)[:200]}") from None
    except UnicodeError:
        raise ConfigError("not YAML: half of a surrogate pair is no character") from None
    if not isinstance(values, dict | None):
        raise ConfigError(f"a configuration is a mapping of keys to values, not {type(values).__name__}")
    return {str(key): value for key, value in (values or {}).items()}


def load_file(path: str | os.PathLike[str], what: str = "the configuration") -> dict[str, Any]:
    """The mapping in a YAML file, as `load`; errors begin with the file's name."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {what} {os.fspath(path)}: {reason}") from None
    try:
        return load(text)
    except ConfigError as error:
        raise ConfigError(f"{os.fspath(path)}: {error}") from None


def _require_plain(events: Iterable[Any]) -> None:
    """Refuse anchors, aliases and deep nesting. The parser's events come one by one: nothing is expanded yet."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = f"line {event.start_mark.line + 1}"
        if depth > MAX_DEPTH:
            raise ConfigError(f"{line}: more than {MAX_DEPTH} levels of lists and mappings")
        if anchor := getattr(event, "anchor", None):
            sign, kind = ("*", "alias") if isinstance(event, yaml.AliasEvent) else ("&", "anchor")
            name = sign + anchor if len(anchor) < MAX_DIGITS else sign
            raise ConfigError(
                f"{line}: {name} is an {kind}, and aliases are not read; write the value where it is used"
            )


class _Loader(_Scanner):  # type: ignore[misc]
    """Constructs JSON's types; a date stays text, and every other tag is an error."""

    def scalar(self, node: Any) -> Any:
        """A number, true or false."""
        name = node.tag.rpartition(":")[2]
        if len(node.value) > MAX_DIGITS:
            raise self.error(node, f"a number of {len(node.value)} characters")
        try:
            return getattr(self, f"construct_yaml_{name}")(node)
        except (LookupError, ValueError):  # "!!bool x"
            raise self.error(node, f"{node.value!r} is no {name}") from None

    def error(self, node: Any, problem: str) -> yaml.YAMLError:
        return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_SAFE, _TAG = yaml.SafeLoader.yaml_constructors, "tag:yaml.org,2002:"
_Loader.yaml_constructors = (
    {key: _SAFE[key] for key in (None, *(_TAG + name for name in ("null", "str", "seq", "map")))}
    | {_TAG + name: _Loader.scalar for name in ("bool", "int", "float")}
    | {_TAG + "timestamp": _SAFE[_TAG + "str"]}
)


# ------------------------------------------------------------------------------------------------ sentences


def shortened(value: object, most: int = 80) -> str:
    """`repr` of a value for an error, at most so many characters long.

    Examples
    --------
    >>> shortened([1, "two"]), shortened("x" * 1000, most=20)
    ("[1, 'two']", "'xxxxxx...xxxxxxx'")
    """
    brief = reprlib.Repr()
    brief.maxlevel = 3
    brief.maxlist = brief.maxtuple = brief.maxdict = brief.maxset = 20
    brief.maxstring = brief.maxlong = brief.maxother = most - 2
    try:
        text = brief.repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return f"{type(value).__name__} too long to write"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def unknown_key(name: str, known: Sequence[str], prefix: str = "", elsewhere: Iterable[str] = ()) -> str:
    """The sentence for a key that is not known, with the one that was probably meant.

    Parameters
    ----------
    name : the key
    known : keys that it could be
    prefix : of both, such as `options.`
    elsewhere : full names of keys in other sections, of which one may have the very name

    Examples
    --------
    >>> unknown_key("cuont", ["count", "seed"], "endmembers.")
    'unknown key endmembers.cuont; did you mean endmembers.count?'
    """
    near = difflib.get_close_matches(name[:MAX_DIGITS], known, n=1)
    meant = [prefix + near[0]] if near else [key for key in elsewhere if key.rpartition(".")[2] == name]
    hint = f"did you mean {meant[0]}?" if meant else f"known keys are {', '.join(prefix + key for key in known)}"
    return f"unknown key {prefix}{plain(name)}; {hint}"


def one_line(text: object) -> str:
    """What another program or library says, for an error: one line, without control characters.

    Examples
    --------
    >>> one_line("no such\\n\\x1b[31mpartition")
    'no such [31mpartition'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())


def plain(name: str) -> str:
    """A key as it is, or shortened and in quotes where it is long or cannot be printed."""
    return name if name.isprintable() and len(name) <= MAX_DIGITS else shortened(name)


def joined(sentences: Iterable[str], most: int = 5) -> str:
    """Different sentences as one; beyond the first few only their number.

    Examples
    --------
    >>> joined(["a is 1", "a is 1", "b is 2", "c is 3"], most=2)
    'a is 1; b is 2; and 1 more'
    """
    different = list(dict.fromkeys(sentences))
    more = [f"and {len(different) - most} more"] if len(different) > most else []
    return "; ".join(different[:most] + more)
