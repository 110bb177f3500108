"""How the endmembers of a run were found, in sentences; what the store says is a stranger's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from hsi_dask.extractors.registry import EXTRACTORS
from hsi_dask.io.documents import Count, Text, as_typed
from hsi_dask.show.facts import Facts

_MOST_PLACES = 5  # that are named; the store has them all


@dataclass(frozen=True)
class _Search:
    """Attributes of endmembers that were found."""

    OTHER_KEYS: ClassVar[bool] = True
    method: Text = ""
    seed: int = 0
    pixels: Count = 0
    robust: int = 0
    dropped_x: tuple[float, ...] = ()
    dropped_y: tuple[float, ...] = ()
    members: Count = 0
    members_angle: tuple[float, ...] = ()
    certificate: Text = ""


def search(facts: Facts) -> Iterator[str]:
    """By what method and among how many pixels, which were dropped, and what a search of all pixels proves."""
    told = as_typed(dict(facts.endmembers.attrs), _Search, facts.run.endmembers)
    if not told.method:
        return
    known = EXTRACTORS.specifications.get(told.method)
    name = f"{known.title} ({known.source})" if known else told.method
    yield f"Found by {name} among {told.pixels:,} pixels, with seed {told.seed}."
    if told.robust:
        yield _means(told)
    if places := [f"{x:.9g} E {y:.9g} N" for x, y in zip(told.dropped_x, told.dropped_y, strict=False)]:
        more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
        were = "pixel was" if len(places) == 1 else "pixels were"
        where = ", ".join(islice(places, _MOST_PLACES))
        yield f"{len(places)} {were} dropped as candidates, being like no other: at {where}{more}."
    if told.certificate:
        yield f"{told.certificate[:1].upper()}{told.certificate[1:]}."


def _means(told: _Search) -> str:
    """What endmembers are the means of, and how alike these pixels are."""
    if not 0 < told.members <= len(told.members_angle):
        return "Each is the mean of the pixels most like the chosen one."
    angles, count = told.members_angle, told.members
    farthest = [math.degrees(max(angles[at : at + count])) for at in range(0, len(angles), count)]
    spread = f"{min(farthest):.2g} to {max(farthest):.2g} degrees"
    return f"Each is the mean of the {count} pixels most like the chosen one; the last of them differs by {spread}."
