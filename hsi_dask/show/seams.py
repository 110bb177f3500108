"""Seams of a run as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsi_dask.batch.observer import Advanced
from hsi_dask.errors import counted
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.overviews.overviews import QUICKLOOK_WAVELENGTHS, kept_overviews
from hsi_dask.overviews.seams import PLAIN, Seam, seams_of
from hsi_dask.overviews.steps import Step
from hsi_dask.schema import QUICKLOOK, Variable
from hsi_dask.show.facts import Facts
from hsi_dask.show.places import writable
from hsi_dask.show.tables import csv_text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "first", "second", "where", "cell", "map", "of", "units", "pairs", "step", "relative", "inside", "spread",
    "texture", "times",
)  # fmt: skip


def seams(run_dir: str | os.PathLike[str], *, advanced: Advanced = lambda share: None) -> pd.DataFrame:
    """What changes between neighbouring tiles, or flight lines, against what is ordinary inside them.

    Parameters
    ----------
    run_dir : path
        A run, complete or not.
    advanced : callable, optional
        Hears which share of the overviews, if they have to be made, and of the seams is done, 0 to 1.

    Returns
    -------
    pandas.DataFrame
        A row for each seam and each plane of a map. `first`, `second`: tiles, the western or northern first, or files
        where overlapping ones were cut into cells; `where`: edge, inside (a cell), or overlap (of pixels that both
        files have); `map`, `of`: reflectance at four wavelengths, or a map and its endmember; `pairs` of neighbouring
        pixels with data; `step`: the median of second - first over them, of classes the share whose classes differ;
        `relative`: of reflectance, the median of (second - first) / the mean of both; `inside`, `spread`: mean and
        standard deviation of such steps along parallel lines inside the tiles; `texture`: the median size of
        differences of single neighbours there; `times`: how many spreads `step` is from `inside`. Fractions that are
        0 on both sides do not count.

    Raises
    ------
    RunError
        The folder is not a run, has no finished tile, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = hsi.synthetic.simulate_site(f"{folder}/tiles", tiles=(1, 2), size=50, no_data=0)
    ...     summary = hsi.run(hsi.RunConfig(tiles=[f"{folder}/tiles"]), f"{folder}/run")
    ...     table = seams(f"{folder}/run")
    >>> table["first"].unique().tolist(), table["map"].unique().tolist()[:2]
    (['368000_4306000'], ['reflectance', 'abundance'])
    """
    import pandas as pd

    head, *rows = seam_table(run_dir, advanced=advanced)
    return pd.DataFrame(rows, columns=head)


def seam_table(run_dir: str | os.PathLike[str], *, advanced: Advanced = lambda share: None) -> list[list[Any]]:
    """The rows of `seams`, names of columns first."""
    with kept_overviews(run_dir, advanced=advanced) as overviews:
        return [list(COLUMNS), *rows_of(Facts(overviews), seams_of(overviews, advanced))]


def write_seams(out: Path | None, rows: Sequence[Sequence[Any]]) -> str:
    """The table as CSV, to a file unless it is None; returns the text.

    Raises
    ------
    RunError
        It cannot be written.
    """
    text = csv_text(rows)
    if out is not None:
        with writable(out):
            write_file(out, text.encode())
            sync_folders([out.parent])
    return text


def seams_told(rows: Sequence[Sequence[Any]]) -> str:
    """What a table of `seam_table` comes to, in a sentence.

    Examples
    --------
    >>> edge = ["a", "b", "edge", "a"]
    >>> seams_told([COLUMNS, [*edge, "reflectance", "490 nm", "1", 9, 0.02, 0.1, 0.0, 0.004, 0.001, 5.0]])
    '1 seam, 1 plain in reflectance; the largest: reflectance 490 nm of a and b, 5 spreads from what is usual inside'
    """
    _, *body = rows
    known = [row for row in body if row[-1] is not None]
    count = counted(len({tuple(row[:4]) for row in body}), "seam")
    if not known:
        return count
    plain = {tuple(row[:4]) for row in known if row[4] == _title(QUICKLOOK) and row[-1] >= PLAIN}
    first, second, _, _, name, plane, *_, times = max(known, key=lambda row: row[-1])
    where = f"{name} {plane}".rstrip() + f" of {first} and {second}"
    told = f"{count}, {len(plain)} plain in reflectance"
    return f"{told}; the largest: {where}, {times:.3g} spreads from what is usual inside"


def rows_of(facts: Facts, found: Sequence[Seam]) -> Iterator[list[Any]]:
    """A row for each seam and each plane."""
    variables = variables_of(facts)
    for seam in found:
        for step in seam.steps:
            if (variable := variables.get(step.variable)) is None:
                continue
            rest = (step.pairs, step.step, step.relative, step.inside, step.spread, step.texture)
            times = None if step.times is None else round(step.times, 2)
            yield [seam.first, seam.second, seam.where, seam.cell, _title(variable), plane_name(facts, variable, step),
                   variable.units or "1", *rest, times]  # fmt: skip


def variables_of(facts: Facts) -> dict[str, Variable]:
    """What may be compared, by name."""
    return {variable.name: variable for variable in facts.run.manifest.variables} | {QUICKLOOK.name: QUICKLOOK}


def _title(variable: Variable) -> str:
    return "reflectance" if variable is QUICKLOOK else variable.name


def plane_name(facts: Facts, variable: Variable, step: Step) -> str:
    """What a plane stands for."""
    if variable is QUICKLOOK:
        return f"{QUICKLOOK_WAVELENGTHS[step.plane % len(QUICKLOOK_WAVELENGTHS)]:g} nm"
    names = facts.labels_of(variable).names
    return names[step.plane] if 0 <= step.plane < len(names) else ""
