"""A run of a class library, whose maps are of materials, is reported and exported as any other."""

from __future__ import annotations

import csv
from pathlib import Path

from hsi_dask.batch.execution.run import run
from hsi_dask.config import RunConfig
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.show.export import export
from hsi_dask.show.report import report


def test_maps_of_materials_are_reported_and_exported(config: RunConfig, undisturbed: Path, tmp_path: Path) -> None:
    spectra = open_endmembers(undisturbed).load()
    library = tmp_path / "library.csv"
    with library.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "material", *spectra.wavelength.values])
        for number, values in enumerate(spectra.values):
            table.writerow([f"spectrum {number}", "ab"[number % 2], *values])
    asked = RunConfig(tiles=config.tiles, endmembers={"file": str(library)}, methods=("cover",), mix=True)
    run(asked, tmp_path / "run")
    page = report(tmp_path / "run").read_text(encoding="utf-8")
    assert "raction of the pixel that is the material" in page
    export(tmp_path / "run", tmp_path / "gis")
    names = {path.stem for path in (tmp_path / "gis").glob("*.tif")}
    assert {"fraction", "fraction_std", "shade", "quality"} <= names
