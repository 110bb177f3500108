"""The examples in CONTRIBUTING.md, executed as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hsi_dask.extractors.specification import Extractor
from hsi_dask.io.readers import Reader
from hsi_dask.kernels.projection import project, weights
from hsi_dask.methods.specification import Inputs, Library, Method

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def examples() -> dict[str, object]:
    """What the Python blocks define."""
    found: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "CONTRIBUTING.md", "exec"), found)
    return found


def test_the_method_computes_distances(examples: dict[str, object]) -> None:
    method = examples["SPECIFICATION"]
    assert isinstance(method, Method)
    rng = np.random.default_rng(0)
    spectra, pixels = rng.random((3, 20)), rng.random((50, 20))
    w = weights(spectra, divergence=False)
    library = Library(spectra, ("a", "b", "c"), np.arange(1, 4))
    model = method.prepare(Inputs(library, w.basis, {}))
    found = method.finish(model, project(pixels.T, w))["distance_score"]
    expected = np.linalg.norm(pixels[None] - spectra[:, None], axis=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_reader_reads_a_cube(examples: dict[str, object], tmp_path: Path) -> None:
    reader = examples["READER"]
    assert isinstance(reader, Reader)
    cube = np.random.default_rng(0).random((4, 5, 6)).astype("float32")
    np.savez(tmp_path / "cube.npz", cube=cube, wavelength=np.linspace(400, 900, 6), corner=(368000, 4306004))
    path = str(tmp_path / "cube.npz")
    assert reader.recognises(path)
    xr.testing.assert_equal(reader.read(path).cube(masked=True, chunks=None)[0, 0], reader.read(path).cube()[0, 0])
    np.testing.assert_array_equal(reader.read(path).cube(), cube)


def test_the_extractor_finds_the_brightest(examples: dict[str, object]) -> None:
    extractor = examples["EXTRACTOR"]
    assert isinstance(extractor, Extractor)
    spectra = np.array([[0.1, 0.1], [0.9, 0.8], [0.4, 0.7]])
    assert extractor.extract(spectra, 2, np.random.default_rng(0)).indices.tolist() == [1, 2]
