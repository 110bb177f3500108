"""Imaging spectroscopy of airborne tiles on dask: endmembers, abundances and classes, for a tile or a whole site.

The design, on one screen
-------------------------
1. A *kernel* knows spectra (ndarray in, ndarray out). An *op* knows labelled cubes (DataArray in, DataArray out, lazy).
   *io* knows files. A *batch* knows many tiles and one run directory. Each is a folder; imports only point downward.
2. Unmixing, spectral angle and divergence are a few sums over wavelength, then something cheap a pixel: so the heavy
   step, shared by all of them, is one projection pass over the cube.
3. Such sums may be taken chunk by chunk: blocks follow the chunks as they are stored, along wavelength too, and no
   stored chunk is decompressed twice in a pass.
4. The pass reads the file's own integers; float32 reflectance is what a person sees.
5. A tile is done when its record is on disk. Everything may die at any moment; starting again finishes the rest.

    kernels/   projection, fcls, sam, sid, nfindr          io/      neon, envi, ... (files -> cubes), store
    ops/       select_bands, sample_pixels, unmix, ...      batch/   plan, state, execute, verify, overviews
    show/      figures, the accessor `.hsi`, the report

Examples
--------
>>> import tempfile
>>> import hsi_dask as hsi
>>> with tempfile.TemporaryDirectory() as folder:
...     scene = hsi.synthetic.simulate_scene((60, 80), materials=("vegetation", "soil", "water"), seed=1)
...     cube = hsi.select_bands(hsi.open_neon(hsi.synthetic.write_neon_tile(folder, scene)))
...     endmembers = hsi.find_endmembers(hsi.sample_pixels(cube, 1000), 3)
...     maps = hsi.map_materials(cube, endmembers, thresholds={"sam": 0.1}).compute()
>>> sorted(maps)
['abundance', 'abundance_class', 'residual', 'sam_angle', 'sam_class', 'sid_class', 'sid_divergence']
>>> float(abs(maps.abundance.sum("endmember") - 1).max()) < 1e-5
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsi_dask import synthetic
    from hsi_dask.batch.execution.run import RunSummary, run
    from hsi_dask.batch.tiles.mosaic import open_mosaic
    from hsi_dask.comparison.changes import compare
    from hsi_dask.config import RunConfig
    from hsi_dask.errors import (
        ClusterError,
        ConfigError,
        EndmemberError,
        FileFormatError,
        GridError,
        HsiDaskError,
        RunError,
        SchemaError,
    )
    from hsi_dask.io.neon.cube import open_neon
    from hsi_dask.io.readers import open_cube
    from hsi_dask.io.spectra import read_spectra
    from hsi_dask.io.store import open_results
    from hsi_dask.ops.absorptions import absorption, continuum_removal
    from hsi_dask.ops.bands import select_bands
    from hsi_dask.ops.clustering import kmeans
    from hsi_dask.ops.counting import estimate_count
    from hsi_dask.ops.detection import detect, false_alarm_thresholds
    from hsi_dask.ops.endmembers import find_endmembers
    from hsi_dask.ops.estimators import apply
    from hsi_dask.ops.identification import identify
    from hsi_dask.ops.materials import classify, map_materials, threshold_classes, unmix
    from hsi_dask.ops.mixtures import fractional_cover, mesma
    from hsi_dask.ops.reduction import reduce_library
    from hsi_dask.ops.resampling import resample_endmembers
    from hsi_dask.ops.samples import from_samples, to_samples
    from hsi_dask.ops.sampling import sample_pixels
    from hsi_dask.ops.smoothing import smooth
    from hsi_dask.ops.statistics import scene_statistics
    from hsi_dask.ops.transforms import denoise, inverse_transform, mnf, pca
    from hsi_dask.show.accuracy import accuracy
    from hsi_dask.show.change_report import export_changes
    from hsi_dask.show.export import export
    from hsi_dask.show.report import report
    from hsi_dask.show.seams import seams

__version__ = "0.2.0"

__all__ = [
    "ClusterError",
    "ConfigError",
    "EndmemberError",
    "FileFormatError",
    "GridError",
    "HsiDaskError",
    "RunConfig",
    "RunError",
    "RunSummary",
    "SchemaError",
    "__version__",
    "absorption",
    "accuracy",
    "apply",
    "classify",
    "compare",
    "continuum_removal",
    "denoise",
    "detect",
    "estimate_count",
    "export",
    "export_changes",
    "false_alarm_thresholds",
    "find_endmembers",
    "fractional_cover",
    "from_samples",
    "identify",
    "inverse_transform",
    "kmeans",
    "map_materials",
    "mesma",
    "mnf",
    "open_cube",
    "open_mosaic",
    "open_neon",
    "open_results",
    "pca",
    "read_spectra",
    "reduce_library",
    "report",
    "resample_endmembers",
    "run",
    "sample_pixels",
    "scene_statistics",
    "seams",
    "select_bands",
    "smooth",
    "synthetic",
    "threshold_classes",
    "to_samples",
    "unmix",
]

# A name is imported when it is first used: numba, dask and distributed take a second each
_HOMES = {
    "batch.execution.run": ("RunSummary", "run"),
    "batch.tiles.mosaic": ("open_mosaic",),
    "comparison.changes": ("compare",),
    "config": ("RunConfig",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "io.neon.cube": ("open_neon",),
    "io.readers": ("open_cube",),
    "io.spectra": ("read_spectra",),
    "io.store": ("open_results",),
    "ops.absorptions": ("absorption", "continuum_removal"),
    "ops.bands": ("select_bands",),
    "ops.clustering": ("kmeans",),
    "ops.counting": ("estimate_count",),
    "ops.detection": ("detect", "false_alarm_thresholds"),
    "ops.endmembers": ("find_endmembers",),
    "ops.estimators": ("apply",),
    "ops.identification": ("identify",),
    "ops.mixtures": ("fractional_cover", "mesma"),
    "ops.materials": ("classify", "map_materials", "threshold_classes", "unmix"),
    "ops.reduction": ("reduce_library",),
    "ops.resampling": ("resample_endmembers",),
    "ops.samples": ("from_samples", "to_samples"),
    "ops.sampling": ("sample_pixels",),
    "ops.smoothing": ("smooth",),
    "ops.statistics": ("scene_statistics",),
    "ops.transforms": ("denoise", "inverse_transform", "mnf", "pca"),
    "show.accuracy": ("accuracy",),
    "show.change_report": ("export_changes",),
    "show.export": ("export",),
    "show.report": ("report",),
    "show.seams": ("seams",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "synthetic":
        return import_module("hsi_dask.synthetic")
    if name not in _HOME:
        raise AttributeError(f"module 'hsi_dask' has no attribute {name!r}")
    value = getattr(import_module(f"hsi_dask.{_HOME[name]}"), name)
    globals()[name] = value
    import_module("hsi_dask.xarray")  # `.hsi` is there as soon as there is anything to call it on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
