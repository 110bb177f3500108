"""Verb `warm`: kernels compiled ahead."""

from hsi_dask.cli.app import app


@app.command()
def warm() -> None:
    """Compile the kernels ahead of the first run.

    Once for each machine, or for an installation that many share, by whoever can write there.
    """
    from hsi_dask.kernels.warm import warm

    seconds = warm()
    print(f"compiled in {seconds:.0f} s" if seconds else "compiled already")
