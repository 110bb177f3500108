"""TLS between scheduler and workers: certificates made for one run, for its user alone to read, and gone with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hsi_dask.errors import ClusterError, ConfigError

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"


@contextmanager
def credentials(wanted: bool | dict[str, Any], folder: Path) -> Iterator[Any]:
    """A distributed Security: with files made in the folder (True) or given (a mapping), or None (False)."""
    if wanted is True:
        with tempfile.TemporaryDirectory(prefix=".hsi-dask-tls-", dir=folder) as own:
            yield make_security(Path(own))
    elif wanted is False:
        yield None
    else:
        from distributed import Security

        try:
            yield Security(**{"require_encryption": True} | wanted)
        except TypeError as error:
            raise ConfigError(f"options.security: {error}") from error


def make_security(folder: Path) -> Any:
    """A certificate for every role, written into the folder with mode 0600."""
    from distributed import Security

    try:
        temporary = Security.temporary().get_tls_config_for_role("worker")
    except ImportError as error:
        raise ClusterError(
            f"TLS needs the package cryptography ({error}); pip install dask-jobqueue cryptography"
        ) from error
    for name, text in {AUTHORITY: "ca_file", CERTIFICATE: "cert", KEY: "key"}.items():
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(temporary[text])
    roles = {f"tls_{role}_cert": str(folder / CERTIFICATE) for role in ("scheduler", "worker", "client")}
    roles |= {f"tls_{role}_key": str(folder / KEY) for role in ("scheduler", "worker", "client")}
    return Security(tls_ca_file=str(folder / AUTHORITY), require_encryption=True, **roles)
