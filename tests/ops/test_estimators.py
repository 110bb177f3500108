"""Estimators over a cube, samples and k-means against scikit-learn on all pixels at once, whatever the chunks."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.ops.clustering import kmeans
from hsi_dask.ops.estimators import apply
from hsi_dask.ops.samples import from_samples, to_samples
from hsi_dask.ops.transforms import mnf

from .conftest import CHUNKINGS

pytest.importorskip("sklearn")


@pytest.fixture
def valid(cube):
    return np.isfinite(cube.values).all(axis=2)


@pytest.fixture
def labelled(cube, endmembers):
    """Samples of a cube and the nearest endmember's number of each, 1 to 6."""
    samples = to_samples(cube)
    distance = ((samples.values[:, None] - endmembers.values) ** 2).sum(axis=2)
    return samples, distance.argmin(axis=1) + 1


def test_samples_are_the_pixels_with_data_and_go_back_where_they_were(cube, valid):
    samples = to_samples(cube)
    assert samples.dims == ("pixel", "wavelength")
    np.testing.assert_array_equal(samples, cube.values[valid])
    np.testing.assert_array_equal(samples.y, cube.y.values[samples.row])
    back = from_samples(samples.values[:, 3], samples, cube)
    np.testing.assert_array_equal(back, np.where(valid, cube.values[..., 3], np.nan))
    both = from_samples(samples.values[:, :2], samples, cube)
    assert both.dims == ("output", "y", "x")
    np.testing.assert_array_equal(both[1], np.where(valid, cube.values[..., 1], np.nan))
    assert both.spatial_ref.attrs == cube.spatial_ref.attrs


def test_samples_of_results_have_a_named_feature_for_each_plane(cube, endmembers, valid):
    maps = hsi.map_materials(cube.chunk({"y": 20}), endmembers[:3])
    samples = maps[["abundance", "residual"]].hsi.to_samples()
    assert samples.feature.values.tolist() == ["abundance 1", "abundance 2", "abundance 3", "residual"]
    np.testing.assert_array_equal(samples[:, 3], maps.residual.values[valid])
    np.testing.assert_array_equal(cube.hsi.from_samples(samples[:, 0], samples), maps.abundance[0])


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_a_classifier_gives_the_same_map_whatever_the_chunks(raw, cube, labelled, valid, chunks, refuse_to_compute):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    samples, labels = labelled
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(samples[::3], labels[::3])
    chunked = raw.chunk(dict(zip(raw.dims, chunks, strict=True)))
    lazy, shares = apply(chunked, model), apply(chunked, model, method="predict_proba")
    assert isinstance(lazy.data, da.Array)
    assert (lazy.dims, lazy.dtype, shares.dims) == (("y", "x"), np.uint8, ("class", "y", "x"))
    wanted = np.full(valid.shape, 255)
    wanted[valid] = model.predict(samples)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), wanted)
    found = shares.compute(scheduler="sync")
    np.testing.assert_allclose(found.values[:, valid].T, model.predict_proba(samples), atol=1e-5)
    assert np.isnan(found.values[:, ~valid]).all()
    assert found["class"].values.tolist() == model.classes_.tolist()


def test_words_become_numbers_with_their_meanings(cube, labelled, valid):
    from sklearn.neighbors import KNeighborsClassifier

    samples, labels = labelled
    names = np.array(["", "tree", "bare soil", "asphalt", "roof", "water", "grass"])
    model = KNeighborsClassifier(1).fit(samples[::5], names[labels[::5]])
    found = apply(cube, model)
    assert found.attrs["flag_meanings"].split() == ["unclassified", *("_".join(c.split()) for c in model.classes_)]
    np.testing.assert_array_equal(model.classes_[found.values[valid] - 1], model.predict(samples))
    assert (found.values[~valid] == 255).all()


def test_regressors_and_transforms_give_float32_planes(cube, valid):
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression

    samples = to_samples(cube)
    model = LinearRegression().fit(samples, samples.values[:, :2])
    found = apply(cube, model)
    assert (found.dims, found.dtype) == (("output", "y", "x"), np.float32)
    np.testing.assert_allclose(found.values[:, valid].T, samples[:, :2], atol=1e-4)
    axes = PCA(3).fit(samples)
    np.testing.assert_allclose(apply(cube, axes).values[:, valid].T, axes.transform(samples.values), atol=1e-5)


def test_outlier_detectors_may_say_minus_one_once_no_data_is_another_number(cube, valid):
    from sklearn.ensemble import IsolationForest

    samples = to_samples(cube)
    model = IsolationForest(n_estimators=10, random_state=0, contamination=0.1).fit(samples.values)
    with pytest.raises(SchemaError, match="predicts -1, which means no data; set no_data"):
        apply(cube, model)
    found = apply(cube, model, no_data=0)
    np.testing.assert_array_equal(found.values[valid], model.predict(samples.values))
    assert (found.values[~valid] == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(1, 9), columns=st.integers(1, 9), size=st.integers(1, 5))
def test_samples_and_back_is_the_cube_itself(seed, rows, columns, size):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((rows, columns, 1)) < 0.3, np.nan, rng.uniform(0.1, 0.6, (rows, columns, size)))
    cube = xr.DataArray(values.astype(np.float32), {"wavelength": np.arange(size) + 500.0}, ("y", "x", "wavelength"))
    samples = to_samples(cube)
    back = from_samples(samples.values, samples, cube)
    np.testing.assert_array_equal(np.moveaxis(back.values, 0, 2), cube)


@pytest.mark.parametrize("chunks", [(13, 70, -1), (17, 23, 61), (60, 70, 1)])
def test_clusters_of_a_scene_are_the_same_whatever_the_chunks(raw, cube, chunks):
    found = kmeans(raw.chunk(dict(zip(raw.dims, chunks, strict=True))), 4, seed=1)
    assert isinstance(found.kmeans_class.data, da.Array)
    xr.testing.assert_equal(found.compute(), kmeans(cube, 4, seed=1))


def test_clusters_are_as_tight_as_those_of_scikit_learn_and_ordered_by_brightness(cube, valid):
    from sklearn.cluster import KMeans

    samples = to_samples(cube)
    found = kmeans(cube, 5)
    assert found.kmeans_class.dtype == np.uint8
    labels = found.kmeans_class.values[valid]
    assert set(labels) == {1, 2, 3, 4, 5}
    assert (found.kmeans_class.values[~valid] == 255).all()
    spread = ((samples - found.centers.values[labels - 1]) ** 2).sum()
    assert float(spread) < 1.05 * KMeans(5, n_init=5, random_state=0).fit(samples).inertia_
    assert (np.diff(np.linalg.norm(found.centers, axis=1)) >= 0).all()


def test_components_have_clusters_too(cube, valid):
    found = kmeans(mnf(cube, 4), 3)
    assert found.centers.dims == ("endmember", "feature")
    assert set(found.kmeans_class.values[valid]) == {1, 2, 3}


def test_what_cannot_be_is_one_sentence(cube, labelled):
    from sklearn.naive_bayes import GaussianNB

    samples, labels = labelled
    with pytest.raises(ConfigError, match=r"GaussianNB\.predict fails for one flat spectrum: .*not fitted"):
        apply(cube, GaussianNB())
    model = GaussianNB().fit(samples, labels)
    with pytest.raises(ConfigError, match="GaussianNB has no 'transform'; it has predict"):
        apply(cube, model, method="transform")
    with pytest.raises(SchemaError, match="was fitted on 362 features, the cube has 20"):
        apply(cube[..., :20], model)
    with pytest.raises(SchemaError, match="no coordinate row and column"):
        from_samples(labels, samples.drop_vars(["row", "column"]), cube)
    with pytest.raises(SchemaError, match=r"shape \(3,\), the samples have"):
        from_samples([1, 2, 3], samples, cube)
    with pytest.raises(ConfigError, match="clusters must be 2 to 254, not 1"):
        kmeans(cube, 1)
    with pytest.raises(EndmemberError, match="no pixel with data"):
        kmeans(cube.where(False), 2)
