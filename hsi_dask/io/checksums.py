"""CRC-32C, by the package that came with Zarr: its releases have not all the same one."""

from __future__ import annotations

from importlib import import_module


def crc32c(data: bytes, value: int = 0) -> int:
    """The checksum of data that follow others, whose checksum is `value`.

    Examples
    --------
    >>> f"{crc32c(b'123456789'):08x}", f"{crc32c(b'6789', crc32c(b'12345')):08x}"
    ('e3069283', 'e3069283')
    """
    try:
        return int(import_module("google_crc32c").extend(value, data))
    except ImportError:  # Zarr 3.0
        return int(import_module("crc32c").crc32c(data, value))
