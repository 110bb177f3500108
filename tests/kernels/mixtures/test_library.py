"""Numbers of models against enumeration."""

from itertools import combinations, product

import numpy as np
import pytest

from hsi_dask.kernels.mixtures.library import LIMIT, Library, count_models, ordered


@pytest.mark.parametrize(("sizes", "most", "least"), [((3, 2, 4), 3, 1), ((3, 0, 4), 2, 1), ((2, 2, 2, 2), 4, 2)])
def test_the_number_of_models_is_that_of_all_choices_of_one_spectrum_of_some_materials(sizes, most, least):
    groups = [range(size) for size in sizes]
    models = [m for level in range(least, most + 1) for g in combinations(groups, level) for m in product(*g)]
    assert count_models(sizes, most, least) == len(models)


def test_a_library_of_two_thousand_spectra_is_refused_with_its_number_of_models():
    spectra = np.eye(4)[np.arange(2000) % 4]
    with pytest.raises(ValueError, match=f"2000 spectra make 297631407 models .* more than {LIMIT}"):
        ordered(Library(spectra, np.arange(2000) % 3, 3, 4), 1, 3)


def test_spectra_are_sorted_by_material_and_keep_their_order_within_one():
    found = ordered(Library(np.eye(4), np.array([2, 0, 2, 0]), 3, 4), 1, 2)
    assert found.order.tolist() == [1, 3, 0, 2]
    assert found.starts.tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize(
    ("library", "levels", "message"),
    [
        (Library(np.eye(2), np.array([0]), 1, 2), (1, 1), r"must share L.*\(2, 2\) and \(1,\)"),
        (Library(np.full((1, 2), np.nan), np.array([0]), 1, 2), (1, 1), "2 vertex coordinates are not finite"),
        (Library(np.eye(2), np.array([0, 2]), 2, 2), (1, 1), "numbered 0 to 1; one spectrum has 2"),
        (Library(np.eye(2), np.array([0, -1]), 2, 2), (1, 1), "numbered 0 to 1; one spectrum has -1"),
        (Library(np.eye(2), np.array([0, 1]), 2, 2), (2, 1), "models of 2 to 1 materials"),
        (Library(np.eye(2), np.array([0, 0]), 2, 2), (2, 2), "only 1 have spectra; lower min_materials"),
    ],
)
def test_what_is_wrong_with_a_library_is_said(library, levels, message):
    with pytest.raises(ValueError, match=message):
        ordered(library, *levels)
