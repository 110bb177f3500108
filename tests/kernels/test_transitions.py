"""Transitions, balances and significance against loops over pixels."""

import numpy as np
import pytest

from hsi_dask.kernels.transitions import balance, change_std, class_change, significance, transitions


@pytest.fixture
def classes():
    random = np.random.default_rng(3)
    values = np.array([0, 1, 2, 7, 255, 9], "uint8")
    return random.choice(values, (20, 30)), random.choice(values, (20, 30))


def test_transitions_count_pairs_of_known_classes(classes):
    before, after = classes
    values = [0, 1, 2, 7]
    counted = {(a, b): 0 for a in values for b in values}
    for a, b in zip(before.ravel().tolist(), after.ravel().tolist(), strict=True):
        if (a, b) in counted:
            counted[a, b] += 1
    expected = [[counted[a, b] for b in values] for a in values]
    np.testing.assert_array_equal(transitions(before, after, values), expected)


def test_a_changed_pixel_has_what_it_became(classes):
    before, after = classes
    for a, b, found in zip(before.ravel(), after.ravel(), class_change(before, after).ravel(), strict=True):
        expected = -1 if 255 in (a, b) else 0 if a == b else 255 if b == 0 else b
        assert found == expected


def test_a_balance_sums_what_both_maps_know():
    random = np.random.default_rng(1)
    before, after, std = (random.random((2, 5, 6)).astype(np.float32) for _ in range(3))
    before[0, 2, 3] = after[1, 1, 1] = np.nan
    found = balance(before, after, std)
    for plane in range(2):
        sums = np.zeros(6)
        for a, b, s in zip(before[plane].ravel(), after[plane].ravel(), std[plane].ravel(), strict=True):
            if a == a and b == b:
                sums += [1, a, b, max(float(b) - float(a), 0), max(float(a) - float(b), 0), s]
        np.testing.assert_allclose(found[plane], sums, rtol=1e-6)
    assert np.isnan(balance(before, after)[:, 5]).all()


def test_significant_is_what_is_larger_than_z_standard_deviations():
    std = change_std(np.float32([0.3, 0.3, 0.3, 0.3, np.nan]), np.float32([0.4, 0.4, 0.4, 0.4, 0.1]))
    np.testing.assert_allclose(std[:4], 0.5)
    change = np.float32([0.9, 1.1, -1.1, np.nan, 2.0])
    assert significance(change, std, 2.0).tolist() == [0, 2, 1, 255, 255]
