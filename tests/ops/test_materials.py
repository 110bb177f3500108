"""Maps of a lazy cube against the same maps of the cube in memory, and against each method's definition."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.materials import classify, map_materials, threshold_classes, unmix
from hsi_dask.ops.statistics import scene_statistics
from hsi_dask.sources import find_source

from .conftest import CHUNKINGS

LIMITS = {"sam": 0.1, "sid": [0.05, 0.1, 0.02, 0.3, 0.1, 0.2]}


def assert_same(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a) == set(b)
    for name in a:
        if a[name].dtype.kind == "f":
            np.testing.assert_allclose(
                a[name], b[name], rtol=2e-7, atol=1e-6 if "sid" in str(name) else 1e-7, err_msg=str(name)
            )
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=str(name))


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_chunking_does_not_change_the_maps(
    cube: xr.DataArray, endmembers: xr.DataArray, chunks: tuple[int, ...]
) -> None:
    chunked = cube.chunk(dict(zip(cube.dims, chunks, strict=True)))
    lazily = map_materials(chunked, endmembers, thresholds=LIMITS).compute(scheduler="threads")
    assert_same(lazily, map_materials(cube, endmembers, thresholds=LIMITS))


def test_stored_integers_give_the_maps_of_reflectance(
    raw: xr.DataArray, cube: xr.DataArray, endmembers: xr.DataArray
) -> None:
    assert raw.dtype.kind == "i"
    assert_same(map_materials(raw, endmembers).compute(scheduler="sync"), map_materials(cube, endmembers))


@pytest.mark.usefixtures("refuse_to_compute")
def test_nothing_is_computed_while_building(raw: xr.DataArray, endmembers: xr.DataArray) -> None:
    maps = map_materials(raw, endmembers, thresholds=LIMITS)
    threshold_classes(maps.sam_angle, 0.1, relative=True)
    unmix(raw, endmembers)
    classify(raw, endmembers, method="sid", threshold=0.1)


def test_no_stored_chunk_is_inflated_twice(
    raw: xr.DataArray, endmembers: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hsi_dask.io import hdf5

    monkeypatch.setattr(hdf5, "_inflate", counter := Counter(hdf5._inflate))
    map_materials(raw, endmembers).compute(scheduler="threads")
    assert counter.calls == (raw.sizes["wavelength"] if counter.nbytes == 60 * 70 * 2 else 4 * 8 * 16)


class Counter:
    def __init__(self, inflate) -> None:
        self.inflate, self.calls, self.nbytes = inflate, 0, 0

    def __call__(self, data: bytes, room: np.ndarray) -> np.ndarray | None:
        self.calls, self.nbytes = self.calls + 1, room.nbytes
        return self.inflate(data, room)


def test_variables_follow_the_contract(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    maps = map_materials(cube, endmembers)
    kinds = {n: (v.dims, str(v.dtype)) for n, v in maps.items()}
    scores, classes = (("endmember", "y", "x"), "float32"), (("y", "x"), "uint8")
    assert kinds == {
        "abundance": scores,
        "residual": (("y", "x"), "float32"),
        "abundance_class": classes,
        "sam_angle": scores,
        "sam_class": classes,
        "sid_divergence": scores,
        "sid_class": classes,
    }
    assert maps.endmember.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert maps.abundance.attrs["units"] == "1"
    assert "source" not in maps.abundance.attrs
    assert "spatial_ref" in maps.coords
    assert maps.sam_class.attrs["flag_values"].tolist() == list(range(7))


def test_abundances_are_shares_and_no_data_stays_no_data(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    maps = map_materials(cube, endmembers)
    missing = cube.isnull().any("wavelength").values
    assert 0 < missing.sum() < missing.size
    shares = maps.abundance.values[:, ~missing]
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    for name, fill in [("abundance", np.nan), ("residual", np.nan), ("sam_class", 255), ("sid_class", 255)]:
        np.testing.assert_array_equal(
            maps[name].values[..., missing], np.broadcast_to(fill, maps[name].values[..., missing].shape)
        )


def test_unmixing_recovers_what_was_mixed(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(6), (5, 4))
    mixed = xr.DataArray(
        shares @ endmembers.values.astype(float), {"wavelength": endmembers.wavelength}, ("y", "x", "wavelength")
    )
    result = unmix(mixed, endmembers)
    np.testing.assert_allclose(result.abundance.transpose("y", "x", "endmember"), shares, atol=1e-6)
    np.testing.assert_allclose(result.residual, 0, atol=1e-6)


def test_residual_is_the_rmse_of_the_fit(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    result = unmix(cube, endmembers)
    fit = xr.dot(
        result.abundance.astype(float),
        endmembers.assign_coords(endmember=result.endmember).astype(float),
        dim="endmember",
    )
    rmse = np.sqrt(((cube - fit) ** 2).mean("wavelength", skipna=False))
    np.testing.assert_allclose(result.residual, rmse.transpose("y", "x"), atol=1e-6)


def test_cvxopt_gives_the_same_abundances(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    corner = cube.isel(y=slice(30, 40), x=slice(30, 40))
    exact, reference = unmix(corner, endmembers), unmix(corner, endmembers, solver="cvxopt")
    np.testing.assert_allclose(exact.abundance, reference.abundance, atol=1e-5)


def test_each_method_alone_gives_what_all_together_give(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    together = map_materials(cube, endmembers, thresholds=LIMITS)
    alone = [
        unmix(cube, endmembers),
        *(classify(cube, endmembers, method=m, threshold=LIMITS[m]) for m in ("sam", "sid")),
    ]
    assert_same(xr.merge(alone, compat="override"), together)


def test_five_methods_in_one_pass_give_what_each_gives_by_itself(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    how = {"statistics": scene_statistics(cube)}
    methods = ("fcls", "sam", "sid", "ncc", "ace")
    together = map_materials(cube, endmembers, methods=methods, **how)
    alone = [map_materials(cube, endmembers, methods=(each,), **how) for each in methods]
    for name in set(together) - {"ace_score"}:
        assert_same(xr.merge(alone, compat="override")[[name]], together[[name]])
    np.testing.assert_allclose(alone[-1].ace_score, together.ace_score, rtol=1e-5, atol=1e-7)


def test_the_smallest_score_within_its_threshold_wins() -> None:
    angle = np.array([[0.1, 0.3, 0.2, np.nan, 0.2], [0.2, 0.1, 0.2, 0.1, 0.2], [0.3, 0.2, 0.9, 0.1, 0.2]], "float32")
    scores = xr.DataArray(angle[:, None], dims=("endmember", "y", "x"), name="sam_angle")
    assert threshold_classes(scores, None).values.tolist() == [[1, 2, 1, 255, 1]]
    assert threshold_classes(scores, 0.15).values.tolist() == [[1, 2, 0, 255, 0]]
    assert threshold_classes(scores, [0.05, 0.25, 0.25]).values.tolist() == [[2, 2, 2, 255, 2]]
    assert threshold_classes(scores, 0.15).dtype == np.uint8


@pytest.mark.parametrize("chunks", [(1, 1, 2), (3, 2, 5), (2, 1, 3)])
def test_relative_thresholds_go_over_the_whole_scene(chunks: tuple[int, ...]) -> None:
    scores = xr.DataArray(
        np.random.default_rng(0).random((3, 2, 5)).astype("float32"),
        dims=("endmember", "y", "x"),
        name="sid_divergence",
    )
    low, high = scores.min(("y", "x")).values, scores.max(("y", "x")).values
    expected = threshold_classes(scores, (low + 0.4 * (high - low)).tolist())
    lazily = threshold_classes(scores.chunk(dict(zip(scores.dims, chunks, strict=True))), 0.4, relative=True)
    np.testing.assert_array_equal(lazily.compute(scheduler="sync"), expected)
    np.testing.assert_array_equal(threshold_classes(scores, 0.4, relative=True), expected)


def test_thresholds_can_change_without_reading_again(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    loose = map_materials(cube, endmembers)
    tight = map_materials(cube, endmembers, thresholds=LIMITS)
    xr.testing.assert_identical(threshold_classes(loose.sam_angle, LIMITS["sam"]), tight.sam_class)
    xr.testing.assert_identical(threshold_classes(loose.sid_divergence, LIMITS["sid"]), tight.sid_class)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda e: e[:, :-1], EndmemberError, "endmembers have .* wavelengths, the cube"),
        (lambda e: e.assign_coords(wavelength=e.wavelength + 1), EndmemberError, "on other wavelengths"),
        (lambda e: e.where(e.wavelength > 400), EndmemberError, "endmember 1 has missing values"),
        (lambda e: e * 0, EndmemberError, "endmember 1 is zero at every wavelength"),
        (lambda e: e[:0], EndmemberError, "1 to 254 endmembers, not 0"),
        (lambda e: e.drop_vars("wavelength"), SchemaError, "no wavelength coordinate"),
        (lambda e: e.rename(endmember="band"), SchemaError, "endmembers must have the dimensions"),
    ],
)
def test_endmembers_that_do_not_fit_are_refused(cube, endmembers, change, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        map_materials(cube, change(endmembers))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"methods": ("nmf",)}, "methods must be among fcls, .*, not 'nmf'"),
        ({"methods": ()}, "methods is empty"),
        ({"thresholds": {"sam": [0.1, 0.2]}}, "sam has 2 thresholds for 6 endmembers"),
        ({"thresholds": {"sid": -1}}, "a threshold of sid is -1.0; it must be null, one number above 0"),
        ({"thresholds": {"sam": 5}}, "a threshold of sam is 5.0; it must be null, one angle above 0 and up to pi/2"),
        ({"options": {"fcls": {"solver": "quick"}}}, "fcls.solver is 'quick'; it must be exact or cvxopt"),
        ({"options": {"fcls": {"sovler": "exact"}}}, "fcls has no parameter 'sovler'; did you mean solver"),
        ({"thresholds": {"fcls": 0.1}}, "thresholds are for sam and sid and .*, not 'fcls'"),
    ],
)
def test_options_that_do_not_fit_are_refused(cube, endmembers, options, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        map_materials(cube, endmembers, **options)


def test_a_threshold_in_degrees_is_refused_wherever_it_is_given(cube: xr.DataArray, endmembers: xr.DataArray) -> None:
    angles = map_materials(cube, endmembers, methods=("sam",)).sam_angle
    for act in (
        lambda: hsi.classify(cube, endmembers, threshold=5.7),
        lambda: threshold_classes(angles, 5.7),
        lambda: map_materials(cube, endmembers, methods=("sam",), thresholds={"sam": 5.7}),
    ):
        with pytest.raises(ConfigError, match=r"is 5\.7; .* above 0 and up to pi/2"):
            act()


def test_a_cube_of_bare_integers_is_refused(raw: xr.DataArray, endmembers: xr.DataArray) -> None:
    bare = raw.copy()
    bare.attrs = {}
    with pytest.raises(SchemaError, match="without a scale_factor"):
        map_materials(bare, endmembers)


def test_a_cube_as_it_is_read_is_projected_piece_by_piece(
    tile: Path, raw: xr.DataArray, endmembers: xr.DataArray
) -> None:
    """... and a cube whose blocks went through something else is not, with the same maps."""
    whole = read_metadata(tile).cube()
    for cube in (whole, raw, select_bands(whole, windows=[(1000, 3000)], drop_last=0)):
        assert find_source(cube.data) is not None
    through = raw.copy(data=raw.data.map_blocks(np.copy, dtype=raw.dtype))
    for cube in (through, whole + 1, whole[::2], whole[3:]):
        assert find_source(cube.data) is None
    assert_same(map_materials(raw, endmembers).compute(), map_materials(through, endmembers).compute())
