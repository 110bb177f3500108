"""What tiles hold: products, sites, years and visits; mixed ones are refused unless they are asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from hsi_dask.errors import ConfigError, counted
from hsi_dask.io.tile_source import TileSource

Contents = Mapping[str, Mapping[str, int]]
_VISIT = re.compile(r"\d{4}_[A-Z0-9]{4}_\d+")  # a folder of a download, such as 2022_SERC_6
_UNKNOWN = ("", "unknown")


def contents_of(files: Sequence[TileSource]) -> Contents:
    """How many tiles of which product, site, year and visit, as far as the files tell: {"site": {"SERC": 3}}."""
    counts: dict[str, Counter[str]] = {what: Counter() for what in ("product", "site", "year", "visit")}
    for file in files:
        counts["product"][file.product] += 1
        counts["site"][file.site] += 1
        counts["year"].update(file.years)
        counts["visit"][file.visit] += 1
    return {
        what: {value: n for value, n in sorted(found.items()) if value not in _UNKNOWN}
        for what, found in counts.items()
    }


def words(contents: Contents) -> str:
    """The contents as one line; "" where no file tells. A single visit says no more than its year."""
    told = ((what, found) for what, found in contents.items() if found and (what != "visit" or len(found) > 1))
    return "; ".join(
        f"{what} {next(iter(found))}" if len(found) == 1 else ", ".join(f"{n} of {value}" for value, n in found.items())
        for what, found in told
    )


def of_visit(files: Sequence[TileSource], year: int | None, visit: str | None) -> list[TileSource]:
    """The files of a year or a visit; None is any.

    Raises
    ------
    ConfigError
        There are none. Says what there is.
    """
    found = [file for file in files if (year is None or str(year) in file.years) and visit in (None, file.visit)]
    if not found:
        wanted = " and ".join(f"{what} {value}" for what, value in (("year", year), ("visit", visit)) if value)
        there = {what: contents_of(files)[what] for what in ("year", "visit")}
        told = "; ".join(f"{what}s: {', '.join(known)}" for what, known in there.items() if known)
        raise ConfigError(f"none of the {counted(len(files), 'tile')} is of {wanted} ({told or 'none tells its own'})")
    return found


def may_be_of_visit(path: str, year: int | None, visit: str | None) -> bool:
    """Whether a tile that cannot be read may be of a year or a visit, by the folders it is in."""
    told = next((part for part in reversed(PurePath(path).parts[:-1]) if _VISIT.fullmatch(part)), None)
    return told is None or ((year is None or told.startswith(f"{year}_")) and visit in (None, told))


def require_unmixed(files: Sequence[TileSource]) -> None:
    """Refuse tiles of several products, sites, years or visits.

    Raises
    ------
    ConfigError
        They are mixed. Says how many of what.
    """
    contents = contents_of(files)
    if mixed := {what: found for what, found in contents.items() if len(found) > 1}:
        kinds = " and ".join(f"{what}s" for what in mixed)
        raise ConfigError(
            f"the tiles mix {kinds} ({words(mixed)}), whose reflectances differ by design or by time; give "
            "those of one (--year, --visit), or say that they may be mixed (mix: true in the configuration, --mix)"
        )
