"""The token that NEON's data API asks for: from the environment or a private file, and shown nowhere."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hsi_dask.errors import ConfigError

VARIABLE = "NEON_TOKEN"
WHERE = "make one in your account at https://data.neonscience.org (My Account, API Tokens)"
_MOST_BYTES = 10_000
_PLAIN = re.compile(r"[\x21-\x7e]+")  # what a header may hold


@dataclass(frozen=True)
class Token:
    """A secret: neither its `repr` nor any message tells it."""

    value: str = field(repr=False)


def read_token(file: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Token:
    """The token in a file, or in the environment variable NEON_TOKEN.

    Raises
    ------
    ConfigError
        There is none, it is no token, or others can read the file.
    """
    if file is not None:
        return _token(_text(Path(file)), str(file))
    if value := environment.get(VARIABLE, "").strip():
        return _token(value, VARIABLE)
    raise ConfigError(
        f"NEON asks for a token, and there is none: {WHERE}, and give it in the environment variable {VARIABLE} or "
        "in a file of mode 0600 (--token-file)"
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise ConfigError(f"{path} must be a file of yours that nobody else can read; chmod 600 {path}")
            return stream.read(_MOST_BYTES).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} holds no token: it is not text; {WHERE}") from None
    except OSError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the token file {path} cannot be read: {error.strerror}") from None


def _token(text: str, where: str) -> Token:
    if not _PLAIN.fullmatch(text.strip()):
        raise ConfigError(f"{where} holds no token: it must be one word of plain characters; {WHERE}")
    return Token(text.strip())
