"""Simulated scenes with known truth, and the same scenes as files in NEON's own layouts.

A scene is a function of the ground position and the seed. Whatever part of it is asked for, in whatever
strips or groups of bands, the numbers are the same: tiles cut from a site join exactly, and no site has to be
in memory. `scenes` turns a seed into numbers, `neon_files` numbers into six NEON layouts.

>>> scene = simulate_scene((60, 80), materials=("vegetation", "soil", "water"), seed=1)
>>> scene.reflectance(slice(0, 10)).shape
(10, 80, 426)
>>> bool((scene.abundance.sum(axis=0) == 1).all())
True
"""

from hsi_dask.synthetic.neon_files import write_neon_tile
from hsi_dask.synthetic.neon_layers import OFF_SWATH
from hsi_dask.synthetic.neon_layouts import Revision
from hsi_dask.synthetic.scenes import NO_DATA, SATURATED, SCALE, Scene, simulate_scene
from hsi_dask.synthetic.sites import Site, simulate_site
from hsi_dask.synthetic.spectra import MATERIALS, WATER_WINDOWS, material_spectra, neon_fwhm, neon_wavelengths
from hsi_dask.synthetic.truth import Agreement, compare_with_truth

__all__ = [
    "MATERIALS",
    "NO_DATA",
    "OFF_SWATH",
    "SATURATED",
    "SCALE",
    "WATER_WINDOWS",
    "Agreement",
    "Revision",
    "Scene",
    "Site",
    "compare_with_truth",
    "material_spectra",
    "neon_fwhm",
    "neon_wavelengths",
    "simulate_scene",
    "simulate_site",
    "write_neon_tile",
]
