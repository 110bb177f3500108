"""The extractors that there are, by name."""

from __future__ import annotations

from hsi_dask.extractors.specification import Extractor
from hsi_dask.plugins import Registry

_BUILT_IN = ("nfindr", "vca", "spa", "atgp", "ppi", "fippi", "minimum_volume")
EXTRACTORS = Registry("hsi_dask.extractors", Extractor, (f"hsi_dask.extractors.{name}" for name in _BUILT_IN))
DEFAULT = _BUILT_IN[0]


def of_every_pixel() -> str:
    """Names of those whose endmembers can be of every pixel, for sentences."""
    return " or ".join(name for name, spec in EXTRACTORS.specifications.items() if spec.every_pixel)
