"""Verb `library`: a class library reduced to the spectra that stand for the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsi_dask.cli.app import DONE, app
from hsi_dask.cli.output import print_table, table
from hsi_dask.cli.progress import run_observer
from hsi_dask.errors import ConfigError, counted
from hsi_dask.escaping import visible

if TYPE_CHECKING:
    import xarray as xr


@app.command()
def library(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A library with materials: .csv, .sli, or earthlib.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .csv or .sli file of the spectra to keep.")],
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Spectra of each material, at most (as many as it takes).")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="ies|ear|masa|cob", help="By classification, averages, or counts.")
    ] = "ies",
    max_rmse: Annotated[float, typer.Option(metavar="X", min=0, help="Within which a spectrum is modelled.")] = 0.025,
    material_column: Annotated[str | None, typer.Option(metavar="NAME", help="Which column names materials.")] = None,
    library_units: Annotated[str | None, typer.Option(metavar="UNIT", help="fraction, percent or 10000.")] = None,
) -> int:
    """Reduce a library of several spectra a material.

    Every spectrum models every other; those are kept that stand for the rest. `run --library` takes what is written.
    """
    from hsi_dask.batch.state.outputs import require_free
    from hsi_dask.io.libraries import write_library, write_table
    from hsi_dask.io.spectra import read_spectra
    from hsi_dask.ops.reduction import reduce_library

    if out.suffix.lower() not in (".csv", ".sli"):
        raise ConfigError(f"--out is {out}; name a .csv or a .sli file")
    require_free(out, file, Path(file).with_suffix(".hdr"), Path(file).with_suffix(".sli"))
    units: Any = library_units
    chosen: Any = method
    spectra = read_spectra(file, units=units, material_column=material_column)
    with run_observer() as observer:
        observer.message(f"comparing {counted(spectra.sizes['endmember'], 'spectrum', 'spectra')} with each other")
        kept = reduce_library(spectra, method=chosen, count=count, max_rmse=max_rmse)
    (write_table if out.suffix.lower() == ".csv" else write_library)(out, kept)
    _show(spectra, kept)
    return DONE


def _show(spectra: xr.DataArray, kept: xr.DataArray) -> None:
    """Of each material how many spectra there were and are, and the models that they make."""
    import numpy as np

    from hsi_dask.kernels.mixtures.library import count_models

    materials, before = np.unique(spectra["material"].values.astype(str), return_counts=True)
    after = [int((kept["material"].values.astype(str) == one).sum()) for one in materials]
    rows = table("material", "spectra", "kept")
    for name, had, has in zip(materials, before.tolist(), after, strict=True):
        rows.add_row(visible(name), str(had), str(has))
    print_table(rows)
    models = [f"{count_models(sizes, 3):,}" for sizes in (before.tolist(), after)]
    kappa = f"; kappa {kept.attrs['kappa']:.3f}" if "kappa" in kept.attrs else ""
    print(f"{sum(after)} of {counted(sum(before), 'spectrum', 'spectra')} by {kept.attrs['reduced_by']}{kappa}")
    print(f"{counted(models[1], 'model')} of up to 3 materials, of {models[0]} before")
