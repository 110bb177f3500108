"""Every speed claim of the README, measured: `python -m benchmarks` makes its tiles, prints ratios, writes JSON.

Two things that are compared run in turn, A B A B, so that a slow spell of the machine meets both; the figure
is the median of the ratios, with the smallest and the largest beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import cold, cover, kernels, peers, runs, scheduler, science, years
from benchmarks.measure import Claim

GROUPS = {
    "pass": runs.mapping_pass,
    "methods": runs.five_methods,
    "statistics": runs.scene_statistics,
    "run": runs.whole_run,
    "every-pixel": runs.every_pixel,
    "cold": cold.cold,
    "kernels": kernels.kernels,
    "peers": peers.peers,
    "cover": cover.cover,
    "science": science.science,
    "workers": runs.two_workers,
    "lines": runs.flight_lines,
    "export": runs.export_maps,
    "years": years.years,
    "planning": years.planning,
    "scheduler": scheduler.scheduling,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="all of them when none is named")
    parser.add_argument("--folder", type=Path, help="keep the simulated tiles here (14 GB for all groups)")
    parser.add_argument("--rounds", type=int, default=5, help="paired measurements of each ratio")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--part", choices=cover.PARTS, help="only this part of `cover`, which takes minutes as a whole")
    parser.add_argument("--plot", type=Path, help="only draw how often intervals of `cover` hold, into this file")
    options = parser.parse_args()
    if options.plot:
        cover.plot(options.plot)
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="hsi-dask-benchmarks-"))
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=130)
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    if options.part:
        GROUPS["cover"] = partial(cover.cover, part=options.part)
    claims: list[Claim] = []
    try:
        for name in options.groups or GROUPS:
            with console.status(f"measuring {name}"):
                found = GROUPS[name](folder, options.rounds)
            claims += found
            console.print(_table(name, found))
            if options.json:
                options.json.write_text(json.dumps([claim._asdict() for claim in claims], indent=1))
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def _table(title: str, claims: list[Claim]) -> Table:
    table = Table("what", "measured", "least to most", "target", "", title=title, title_justify="left")
    for claim in claims:
        verdict = "" if claim.met is None else "met" if claim.met else "[bold]missed[/]"
        spread = f"{claim.least:.3g} to {claim.most:.3g}"
        table.add_row(claim.what, f"{claim.median:.3g} {claim.unit}", spread, claim.target, verdict)
    return table


if __name__ == "__main__":
    main()
