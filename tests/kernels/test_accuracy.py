"""Area-adjusted accuracy against the worked example of Olofsson et al. (2014) and against loops over its equations.

The example: deforestation, forest gain, stable forest and stable non-forest, section 5 and tables 8 and 9.
"""

import numpy as np
import pytest

from hsi_dask.kernels.accuracy import area_adjusted

COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = 0.09  # of a pixel of 30 m
Z = 1.96


def test_the_worked_example_comes_out_as_published():
    found = area_adjusted(COUNTS, PIXELS)
    np.testing.assert_allclose(found.users, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(Z * found.users_error, [0.07, 0.10, 0.04, 0.02], atol=0.005)
    np.testing.assert_allclose(found.producers, [0.75, 0.85, 0.93, 0.96], atol=0.005)
    # for forest gain and non-forest the paper prints 0.23 and 0.01, which its own equation 7 does not give
    np.testing.assert_allclose(Z * found.producers_error[[0, 2]], [0.21, 0.03], atol=0.005)
    np.testing.assert_allclose(found.proportion[2], [0.0019, 0, 0.2967, 0.0213], atol=5e-5)
    assert found.overall == pytest.approx(0.95, abs=0.005)
    assert Z * found.overall_error == pytest.approx(0.02, abs=0.005)
    area = found.area * PIXELS.sum() * HECTARES
    np.testing.assert_allclose(area, [21158, 11686, 285770, 581386], atol=1)
    margin = Z * found.area_error * PIXELS.sum() * HECTARES
    np.testing.assert_allclose(margin, [6158, 3756, 15510, 16282], atol=1)


def test_errors_are_those_of_the_equations():
    random = np.random.default_rng(0)
    counts, pixels = random.integers(1, 30, (4, 4)), random.integers(100, 10_000, 4)
    found = area_adjusted(counts, pixels)
    k, total = range(4), pixels.sum()
    n = [sum(counts[i]) for i in k]
    right = sum((pixels[i] / total) ** 2 * counts[i][i] / n[i] * (1 - counts[i][i] / n[i]) / (n[i] - 1) for i in k)
    assert found.overall_error == pytest.approx(right**0.5)
    for j in k:
        estimated = sum(pixels[i] * counts[i][j] / n[i] for i in k)
        p = pixels[j] * counts[j][j] / n[j] / estimated
        u = counts[j][j] / n[j]
        first = pixels[j] ** 2 * (1 - p) ** 2 * u * (1 - u) / (n[j] - 1)
        second = p**2 * sum(
            pixels[i] ** 2 * counts[i][j] / n[i] * (1 - counts[i][j] / n[i]) / (n[i] - 1) for i in k if i != j
        )
        assert found.producers[j] == pytest.approx(p)
        assert found.producers_error[j] == pytest.approx((first + second) ** 0.5 / estimated)


def test_classes_without_a_sample_are_left_out():
    counts = np.zeros((5, 5), int)
    counts[:4, :4] = COUNTS
    found = area_adjusted(counts, np.append(PIXELS, 999))
    whole = area_adjusted(COUNTS, PIXELS)
    assert found.overall == pytest.approx(whole.overall)
    np.testing.assert_allclose(found.area[:4], whole.area)
    assert np.isnan(found.users[4])
    assert np.isnan(found.producers[4])


def test_a_single_sample_has_no_standard_error():
    found = area_adjusted(np.array([[1, 0], [2, 8]]), np.array([10, 90]))
    assert found.overall == pytest.approx(0.1 + 0.9 * 0.8)
    assert np.isnan(found.overall_error)
