"""Verbs `status` and `verify`: which tiles are done, and whether the store holds what was recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from hsi_dask.cli.app import DONE, FOUND, RunDir, app, complain
from hsi_dask.errors import counted
from hsi_dask.escaping import visible

_MOST_PENDING = 10  # tiles that are listed; those of a site would scroll all else away


@app.command()
def status(
    run_dir: RunDir, as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False
) -> int:
    """Which tiles are done, pending and failed."""
    import json

    from hsi_dask.batch.state.run_directory import Run

    state = Run.open(run_dir)
    done, failed, pending = state.done(), state.failed(), state.pending()
    if as_json:
        print(json.dumps({"run_dir": str(run_dir), "done": done, "pending": pending, "failed": failed}, indent=1))
        return FOUND if failed else DONE
    tiles = counted(len(state.manifest.tiles), "tile")
    print(f"{len(done)} of {tiles} done, {len(pending)} pending, {len(failed)} failed")
    for tile in pending[:_MOST_PENDING]:
        print(f"pending {tile}")
    if len(pending) > _MOST_PENDING:
        print(f"pending {len(pending) - _MOST_PENDING} more; --json lists all")
    for tile, reason in failed.items():
        print(f"failed  {tile}: {visible(reason)}")
    if pending or failed:
        print(f"go on   hsi-dask run --out {run_dir}")
    return FOUND if failed else DONE


@app.command()
def verify(run_dir: RunDir) -> int:
    """Check every record against the store.

    Recomputes the checksum of every chunk that was written.
    """
    from hsi_dask.batch.state.lock import activity
    from hsi_dask.batch.state.run_directory import Run
    from hsi_dask.batch.state.verify import verify as find_faults

    if who := activity(run_dir):
        complain(f"{who} works here; only tiles with a record are judged")
    records = Run.open(run_dir).records()
    findings = find_faults(run_dir)
    for finding in findings:
        print(f"{finding.tile or 'run'}: {finding.what}")
    tiles, chunks = len(records), sum(len(record.chunks) for record in records)
    verdict = f"{len(findings)} found wrong" if findings else "all as recorded"
    print(f"{counted(tiles, 'tile')}, {counted(chunks, 'chunk')}: {verdict}")
    return FOUND if findings else DONE
