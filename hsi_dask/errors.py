"""Errors a user can meet, each also a builtin error. Messages say what is wrong, the value, the way out."""

import re

from hsi_dask.escaping import visible

_MOST, _END = 1400, 400  # characters of a message, and of its end, which tells the way out


def counted(count: object, one: str, many: str = "") -> str:
    """A count with its noun: `1 tile`, `3 tiles`, `2 spectra`.

    Examples
    --------
    >>> counted(1, "tile"), counted(20, "spectrum", "spectra")
    ('1 tile', '20 spectra')
    """
    return f"{count} {one if str(count) == '1' else many or one + 's'}"


class HsiDaskError(Exception):
    """Base of every error hsi_dask raises on purpose; the command line prints it as one line.

    Values in the message may come from a stranger's file: no control character of theirs reaches a terminal or a log,
    and of a long message the middle is left out.
    """

    def __str__(self) -> str:
        text = visible(re.sub(r"\s*\n\s*", " ", super().__str__()))
        return text if len(text) <= _MOST else f"{text[: _MOST - _END]} [...] {text[-_END:]}"


class FileFormatError(HsiDaskError, ValueError):
    """A file is not what a reader needs: of no known format, without a map grid, truncated or damaged."""


class SchemaError(HsiDaskError, ValueError):
    """A labelled array lacks a dimension, a coordinate or the dtype that an operation needs."""


class ConfigError(HsiDaskError, ValueError):
    """A configuration or an option is unknown, of the wrong kind or out of range."""


class EndmemberError(HsiDaskError, ValueError):
    """Pixels cannot give the endmembers asked for, or given endmembers do not fit the cube."""


class GridError(HsiDaskError, ValueError):
    """Tiles do not share one pixel grid, CRS or set of wavelengths."""


class RunError(HsiDaskError, RuntimeError):
    """A run directory cannot be used: it is another run's, in use, damaged or not writable."""


class DownloadError(HsiDaskError, RuntimeError):
    """A service cannot be reached or refuses, or a file does not arrive as it should."""


class ClusterError(HsiDaskError, RuntimeError):
    """Workers cannot be had or reached."""
