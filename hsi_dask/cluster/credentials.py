"""TLS between scheduler and workers: credentials made for one run, for its user alone to read, and gone with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsi_dask.cluster.private_files import create_file
from hsi_dask.errors import ClusterError, ConfigError
from hsi_dask.yaml_text import one_line

if TYPE_CHECKING:
    from distributed import Security

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
_ROLES = ("scheduler", "worker", "client")


@contextmanager
def credentials(wanted: bool | Mapping[str, Any], folder: Path) -> Iterator[Security | None]:
    """Credentials in files made in the folder (True), the user's own (a mapping of TLS files), or none (False)."""
    if wanted is True:
        try:
            temporary = tempfile.TemporaryDirectory(prefix=".hsi-dask-tls-", dir=folder)
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be written ({error.strerror}); set options.shared_temp_directory"
            ) from error
        with temporary as own:
            yield write_security(Path(own))
    else:
        yield supplied_security(wanted) if wanted else None


def temporary_security(instead: str = "") -> Security:
    """New credentials in memory.

    Parameters
    ----------
    instead : what else a user may do where they cannot be made; the end of the error's sentence
    """
    from distributed import Security

    try:
        made: Security = Security.temporary()
        return made
    except ImportError as error:
        raise ClusterError(
            f"TLS needs the package cryptography ({error}); pip install cryptography{instead}"
        ) from error


def write_security(folder: Path) -> Security:
    """New credentials, the same for every role, in files with mode 0600 in the folder."""
    from distributed import Security

    made = temporary_security().get_tls_config_for_role("worker")
    for name, text in {AUTHORITY: "ca_file", CERTIFICATE: "cert", KEY: "key"}.items():
        create_file(folder / name, made[text])
    files = {f"tls_{role}_cert": str(folder / CERTIFICATE) for role in _ROLES}
    files |= {f"tls_{role}_key": str(folder / KEY) for role in _ROLES}
    return Security(tls_ca_file=str(folder / AUTHORITY), require_encryption=True, **files)


def supplied_security(files: Mapping[str, Any]) -> Security:
    """Credentials in the user's TLS files. A peer without TLS is always refused.

    Raises
    ------
    ConfigError
        An unknown key, a file that cannot be read, or `require_encryption: false`.
    """
    from distributed import Security

    if files.get("require_encryption", True) is not True:
        raise ConfigError("options.security.require_encryption must be true: with TLS no plain connection is accepted")
    try:
        security = Security(**dict(files) | {"require_encryption": True})
        for role in _ROLES:
            security.get_connection_args(role)
    except (TypeError, ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"options.security: {one_line(error)}") from error
    return security
