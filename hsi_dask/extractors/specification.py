"""Extractor: a way to find endmembers among pixels, on one contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.extraction.extracted import Extracted


@dataclass(frozen=True)
class Extractor:
    """A way to find endmembers.

    Attributes
    ----------
    name : as configurations say it
    title, source : for people, and the publication that defines it
    extract : (spectra (n, L) float without missing values, count, rng, **options) to
        `kernels.extraction.extracted.Extracted`: indices of pixels or spectra of its own, and diagnostics
    least : the smallest count it can find
    of_pixels : endmembers are pixels, so that lone ones can be dropped and each be the mean of those most like it
    every_pixel : what it finds in a sample, a scene's search goes on from among every pixel: it enlarges the volume
    parameters : its options
    """

    name: str
    title: str
    source: str
    extract: Callable[..., Extracted]
    least: int = 2
    of_pixels: bool = True
    every_pixel: bool = False
    parameters: tuple[Parameter, ...] = ()
