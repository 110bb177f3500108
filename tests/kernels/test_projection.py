"""Projection against the same sums written out in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.projection import Sums, accumulate, operator, project, weights

TOLERANCE = 5e-7  # nats: sums that only SID needs go through float32 for 32 wavelengths at a time


def written_out(planes: np.ndarray, spectra: np.ndarray, scale: float, floor: float = 1e-4) -> list[np.ndarray]:
    x = planes.T.astype(np.float64) * scale
    floored, e = np.maximum(x, floor), np.maximum(spectra, floor)
    q = e / e.sum(axis=1, keepdims=True)
    ratio = np.log(floored)[:, None] - np.log(e)[None]
    return [
        (x**2).sum(axis=1),
        floored.sum(axis=1),
        (floored[:, None] * ratio).sum(axis=2).T,
        (q[None] * ratio).sum(axis=2).T,
    ]


def check(sums: Sums, expected: list[np.ndarray], planes: np.ndarray, basis: np.ndarray, scale: float) -> None:
    np.testing.assert_allclose(sums.projections, basis @ (planes.astype(np.float64) * scale), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sums.energy, expected[0], rtol=1e-12)
    np.testing.assert_allclose(sums.total, expected[1], rtol=3e-7)
    np.testing.assert_allclose(sums.forward / sums.total, expected[2] / expected[1], atol=TOLERANCE)
    np.testing.assert_allclose(sums.backward, expected[3], atol=TOLERANCE)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint16", "float32", "float64"])
@pytest.mark.parametrize(
    ("count", "bands", "n"), [(1, 5, 3), (4, 30, 500), (7, 31, 1100), (30, 64, 128), (90, 101, 1010), (3, 1, 1)]
)
def test_sums_are_those_written_out(dtype: str, count: int, bands: int, n: int) -> None:
    rng = np.random.default_rng(count)
    stored = rng.integers(0, 12000, (bands, n)).astype(dtype)
    planes, scale = (stored, 1e-4) if stored.dtype.kind in "iu" else ((stored * 1e-4).astype(dtype), 1.0)
    spectra = rng.uniform(0, 0.9, (count, bands))
    w = weights(spectra)
    check(project(planes, w, scale=scale), written_out(planes, spectra, scale), planes, w.basis, scale)


def test_parts_of_the_wavelengths_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(1)
    planes, spectra = rng.integers(0, 9000, (50, 300)).astype("int16"), rng.uniform(0.01, 0.8, (5, 50))
    w = weights(spectra)
    whole = project(planes, w, scale=1e-4)
    cuts = [slice(0, 13), slice(13, 14), slice(14, 50)]
    running = Sums.empty(w, 300)
    for sums in running:
        sums.fill(np.nan)  # the first part overwrites whatever is there
    for number, cut in enumerate(cuts[:2]):
        accumulate(planes[cut], operator(w.take(cut), scale=1e-4), running, overwrite=number == 0)
    running = running.plus(project(planes[cuts[2]], w.take(cuts[2]), scale=1e-4))
    for name, a, b in zip(Sums._fields, running, whole, strict=True):
        np.testing.assert_allclose(
            a, b, rtol=1e-12, atol=1e-12 if name in {"projections", "energy"} else 20 * TOLERANCE
        )


def test_no_data_in_one_wavelength_makes_the_pixel_nan_everywhere_and_no_other() -> None:
    planes = np.full((9, 300), 2000, "int16")
    planes[4, 7] = -9999
    planes[:, 299] = -9999
    sums = project(planes, weights(np.full((2, 9), 0.3) * [[1], [2]]), scale=1e-4, fill=-9999)
    for plane in sums:
        assert set(np.flatnonzero(np.isnan(plane.reshape(-1, 300)).all(axis=0))) == {7, 299}
        assert np.isnan(plane).any(axis=0).sum() == 2 or plane.ndim == 1


@pytest.mark.parametrize(
    ("dtype", "fill", "hit"),
    [("uint16", 65535, [1]), ("uint16", -9999, []), ("int16", 0.5, []), ("int16", None, []), ("float32", -9999, [2])],
)
def test_only_the_number_that_means_no_data_does(dtype: str, fill: float | None, hit: list[int]) -> None:
    planes = np.full((5, 4), 2000, dtype)
    planes[2, 1:3] = [65535, -9999] if dtype == "float32" else np.array([65535, -9999]).astype(dtype)
    sums = project(planes, weights(np.full((1, 5), 0.3)), scale=1e-4, fill=fill)
    assert np.flatnonzero(np.isnan(sums.energy)).tolist() == hit


@pytest.mark.parametrize("bands", [1, 4, 5, 7])
def test_zero_may_mean_no_data_whatever_the_number_of_wavelengths(bands: int) -> None:
    planes = np.full((bands, 6), 2000, "int16")
    planes[bands - 1, 4] = 0
    sums = project(planes, weights(np.full((1, bands), 0.3)), scale=1e-4, fill=0)
    assert np.flatnonzero(np.isnan(sums.energy)).tolist() == [4]


def test_nan_in_a_float_cube_is_no_data_too() -> None:
    planes = np.full((9, 10), 0.2, "float32")
    planes[3, 2] = np.nan
    assert np.flatnonzero(np.isnan(project(planes, weights(np.full((1, 9), 0.3))).energy)).tolist() == [2]


def test_zero_and_negative_numbers_count_as_the_floor_in_the_divergence_only() -> None:
    planes, spectra = np.array([[-50], [0], [300]], "int16"), np.array([[0.0, 0.1, 0.2]])
    w = weights(spectra)
    check(project(planes, w, scale=1e-4), written_out(planes, spectra, 1e-4), planes, w.basis, 1e-4)


def test_leaving_out_the_divergence_leaves_the_rest_alone() -> None:
    planes, spectra = np.arange(1, 61).reshape(6, 10).astype("int16"), np.random.default_rng(0).random((3, 6))
    full, lean = project(planes, weights(spectra)), project(planes, weights(spectra, divergence=False))
    np.testing.assert_array_equal(full.projections, lean.projections)
    assert lean.forward.shape == (0, 10)
    assert lean.total.size == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_a_pixels_sums_do_not_depend_on_its_neighbours(n: int, at: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    planes, w = rng.integers(-9999, 15000, (11, n)).astype("int16"), weights(rng.uniform(0.01, 1, (4, 11)))
    at %= n
    for all_of_them, alone in zip(project(planes, w), project(planes[:, at : at + 1], w), strict=True):
        np.testing.assert_array_equal(all_of_them[..., at : at + 1], alone)


def test_unknown_types_are_refused() -> None:
    with pytest.raises(ValueError, match="native integers or floats"):
        project(np.zeros((2, 2), complex), weights(np.ones((1, 2))))


def test_memory_order_does_not_matter() -> None:
    """Chunks come as they are stored, wavelengths last."""
    stored = np.random.default_rng(0).integers(0, 9000, (600, 31)).astype("int16")
    w = weights(np.random.default_rng(1).uniform(0.01, 0.8, (5, 31)))
    for strided, planes in zip(project(stored.T, w), project(np.ascontiguousarray(stored.T), w), strict=True):
        np.testing.assert_array_equal(strided, planes)
