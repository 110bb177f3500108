"""What tiles hold: products, sites and years; mixed ones are refused unless they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hsi_dask.errors import ConfigError
from hsi_dask.io.tile_source import TileSource

Contents = Mapping[str, Mapping[str, int]]
_UNKNOWN = ("", "unknown")


def contents_of(files: Sequence[TileSource]) -> Contents:
    """How many tiles of which product, site and year, as far as the files tell: {"product": {"DP3.30006.001": 3}}."""
    counts: dict[str, Counter[str]] = {"product": Counter(), "site": Counter(), "year": Counter()}
    for file in files:
        counts["product"][file.product] += 1
        counts["site"][file.site] += 1
        counts["year"].update(file.years)
    return {
        what: {value: n for value, n in sorted(found.items()) if value not in _UNKNOWN}
        for what, found in counts.items()
    }


def words(contents: Contents) -> str:
    """The contents as one line; "" where no file tells."""
    parts = (", ".join(f"{n} of {value}" for value, n in found.items()) for found in contents.values() if found)
    return "; ".join(parts)


def require_unmixed(files: Sequence[TileSource]) -> None:
    """Refuse tiles of several products, sites or years.

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
            "those of one, or say that they may be mixed (mix: true in the configuration, --mix)"
        )
