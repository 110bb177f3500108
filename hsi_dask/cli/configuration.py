"""Verb `config`: a commented configuration."""

from hsi_dask.cli.app import app


@app.command()
def config() -> None:
    """Print a commented RunConfig with every default.

    `hsi-dask config > run.yaml` is a good start.
    """
    from hsi_dask.config import RunConfig

    print(RunConfig().commented_yaml(), end="")
