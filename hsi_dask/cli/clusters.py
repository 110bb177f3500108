"""Verbs `submit` and `cluster check`: batch schedulers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsi_dask.cli.app import DONE, FOUND, app
from hsi_dask.cli.flags import RunFlags, settings_from, with_run_flags, words_of
from hsi_dask.cli.runs import require_memory
from hsi_dask.errors import ConfigError


@app.command()
@with_run_flags
def submit(
    out: Annotated[Path, typer.Option("--out", metavar="RUN_DIR", help="Everything is written here.")],
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="A batch scheduler's file; see cluster_configs.")],
    tiles: Annotated[
        list[str] | None, typer.Argument(metavar="TILE", help="Reflectance files, folders of them, or patterns.")
    ] = None,
    *,
    flags: RunFlags,
    array: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="N jobs that share the tiles, and no worker jobs.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the job script, and submit nothing.")] = False,
) -> int:
    """Run as a job of a batch scheduler.

    Warned of its wall time the job finishes what is in work and queues up again, until the run is complete.
    """
    from hsi_dask.cluster import ClusterConfig
    from hsi_dask.cluster.submit import submit as hand_over
    from hsi_dask.cluster.submit import write_scripts

    place = ClusterConfig.from_yaml(cluster)
    require_memory(place, settings_from(flags, tiles or [], out), out)
    words = [*(tiles or []), "--out", str(out), *([] if array else ["--cluster", str(cluster)]), *words_of(flags)]
    for script in write_scripts(place, words, out, array=array):
        if dry_run:
            print(script.text)
            script.path.unlink()
        else:
            print(f"{hand_over(script)}    {script.path}")
    return DONE


clusters = typer.Typer(help="Look into a cluster file before a run depends on it.", rich_markup_mode=None)
app.add_typer(clusters, name="cluster")


@clusters.command("check")
def check_cluster(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="See cluster_configs.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where runs will be written.")] = Path("."),
    script: Annotated[bool, typer.Option("--script", help="Only show the job script of a worker.")] = False,
) -> int:
    """Would a run work with this cluster file?

    Asks the batch scheduler, starts one worker and lets it tell; a line for each finding, with what to change.
    """
    from hsi_dask.cluster import ClusterConfig
    from hsi_dask.cluster.check import check
    from hsi_dask.cluster.jobs import make_job

    place = ClusterConfig.from_yaml(file)
    if script:
        if not place.queued:
            raise ConfigError(f"kind {place.kind} has no job script")
        print(make_job(place).job_script(), end="")
        return DONE
    wrong = 0
    for finding in check(place, out):
        print(f"{'ok ' if finding.good else 'BAD'}  {finding.what:9}  {finding.text}", flush=True)
        wrong += not finding.good
    return FOUND if wrong else DONE
