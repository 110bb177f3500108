"""Simulated scenes against their own truth, and simulated files against NEON's layouts through plain h5py."""

import h5py
import numpy as np
import pytest

from hsi_dask import synthetic
from hsi_dask.errors import ConfigError
from hsi_dask.synthetic import MATERIALS, NO_DATA, OFF_SWATH, WATER_WINDOWS

REFLECTANCE_REVISIONS = ("DP1.001-2016", "DP3.001", "DP3.002", "rewritten")


@pytest.fixture(scope="module")
def scene():
    return synthetic.simulate_scene((70, 90), seed=5, no_data=0.15)


def in_windows(wavelength):
    return np.any([(wavelength >= low) & (wavelength <= high) for low, high in WATER_WINDOWS], axis=0)


def scalar(value):
    return np.asarray(value).reshape(-1)[0]


# ------------------------------------------------------------------------------------------------ spectra


@pytest.mark.parametrize("grid", [synthetic.neon_wavelengths(), np.arange(350, 2601, 25.0), np.array([670.0])])
def test_every_material_is_a_reflectance_on_any_grid(grid):
    spectra = synthetic.material_spectra(MATERIALS, grid)
    assert spectra.shape == (len(MATERIALS), grid.size)
    assert spectra.min() >= 0
    assert spectra.max() <= 1


def test_materials_are_told_apart_by_angle_and_span_all_their_dimensions():
    spectra = synthetic.material_spectra(MATERIALS, synthetic.neon_wavelengths())
    unit = spectra / np.linalg.norm(spectra, axis=1, keepdims=True)
    angles = np.arccos(np.clip(unit @ unit.T, -1, 1)) + 10 * np.eye(len(unit))
    assert angles.min() > 0.15
    assert np.linalg.cond(spectra) < 300


def test_vegetation_has_a_red_edge_and_water_is_dark_in_the_infrared():
    (red, infrared), (_, water) = synthetic.material_spectra(["vegetation", "water"], [670, 860])
    assert infrared > 5 * red
    assert water < 0.01


def test_the_wavelength_grid_is_close_to_neons():
    wavelength = synthetic.neon_wavelengths()
    assert wavelength.size == 426
    assert 2508 < wavelength[-1] < 2514
    fwhm = synthetic.neon_fwhm(wavelength)
    assert 5.6 < fwhm.min() < fwhm.max() < 6.5


# ------------------------------------------------------------------------------------------------ scenes


@pytest.mark.parametrize("shape", [(1, 40), (24, 24), (40, 90), (90, 40)])
def test_abundances_are_non_negative_and_sum_to_exactly_one(shape):
    abundance = synthetic.simulate_scene(shape, seed=2).abundance
    assert abundance.dtype == np.float32
    assert abundance.min() >= 0
    assert (abundance.sum(axis=0) == 1).all()


@pytest.mark.parametrize("seed", range(10))
def test_every_material_has_pure_pixels_and_borders_are_mixed(seed):
    abundance = synthetic.simulate_scene((40, 60), seed=seed).abundance
    assert ((abundance == 1).sum(axis=(1, 2)) >= 3).all()
    assert 0.1 < (abundance.max(axis=0) < 1).mean() < 0.7


def test_the_same_seed_gives_the_same_scene_and_another_seed_another():
    first, again, other = (synthetic.simulate_scene((20, 30), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.reflectance(), again.reflectance())
    assert (first.reflectance() != other.reflectance()).mean() > 0.5


def test_a_scene_cut_into_strips_windows_and_bands_equals_the_uncut_scene(scene):
    whole = scene.reflectance()
    strips = [scene.reflectance(slice(top, top + 13)) for top in range(0, 70, 13)]
    np.testing.assert_array_equal(np.concatenate(strips), whole)
    bands = [scene.reflectance(bands=slice(first, first + 50)) for first in range(0, 426, 50)]
    np.testing.assert_array_equal(np.concatenate(bands, axis=-1), whole)
    window = scene.window(slice(11, 30), slice(7, 8))
    np.testing.assert_array_equal(window.reflectance(), whole[11:30, 7:8])
    np.testing.assert_array_equal(window.abundance, scene.abundance[:, 11:30, 7:8])
    np.testing.assert_array_equal(window.no_data, scene.no_data[11:30, 7:8])


def test_tiles_sit_on_multiples_of_their_size_and_cover_the_scene():
    scene = synthetic.simulate_scene((50, 60), origin=(1010, 2030))
    tiles = list(scene.tiles(40))
    assert [tile.origin for tile in tiles] == [(1010, 2040), (1040, 2040), (1010, 2030), (1040, 2030)]
    assert sum(np.prod(tile.shape) for tile in tiles) == 50 * 60


def test_scenes_simulated_apart_join_when_seed_and_patch_agree():
    both = synthetic.simulate_scene((20, 40), patch=6, origin=(500, 800))
    east = synthetic.simulate_scene((20, 20), patch=6, origin=(520, 800))
    np.testing.assert_array_equal(both.reflectance()[:, 20:], east.reflectance())


def test_without_noise_and_uneven_light_the_spectra_are_the_linear_mixtures():
    scene = synthetic.simulate_scene((30, 40), noise=0, illumination=None)
    good = ~in_windows(scene.wavelength)
    expected = np.tensordot(scene.abundance.astype(float), scene.endmembers[:, good], (0, 0)) * 10000
    assert np.abs(scene.reflectance()[..., good] - expected).max() <= 0.51


def test_noise_has_the_spread_asked_for_and_is_independent_between_bands():
    quiet, noisy = (synthetic.simulate_scene((60, 60), noise=noise, seed=4) for noise in (0, 0.002))
    bands = slice(40, 80)  # even noise there
    noise = (noisy.reflectance(bands=bands).astype(float) - quiet.reflectance(bands=bands)).reshape(-1, 40)
    bright = noise[(quiet.reflectance(bands=bands) > 200).all(axis=-1).ravel()]  # zero cuts the dark ones
    assert bright.std() == pytest.approx(20, rel=0.1)
    correlation = np.corrcoef(bright.T) - np.eye(40)
    assert np.abs(correlation).max() < 0.1


def test_the_water_vapour_windows_hold_noise_zeros_and_saturation_but_no_no_data(scene):
    values = scene.reflectance()[~scene.no_data][:, in_windows(scene.wavelength)]
    assert values.min() == 0
    assert values.max() == synthetic.SATURATED
    assert ((values > 0) & (values < synthetic.SATURATED)).mean() > 0.3


def test_neons_flaws_outside_the_windows_occur(scene):
    values = scene.reflectance()[~scene.no_data]
    assert (values[:, scene.wavelength < 390] > 10000).any()
    assert (values[:, scene.wavelength > 2472] == 0).any()


def test_illumination_is_smooth_and_stays_in_its_range(scene):
    light = scene.illumination
    assert 0.7 <= light.min() < light.max() <= 1.1
    assert np.abs(np.diff(light)).max() < 0.05


@pytest.mark.parametrize("shape", ["corner", "border"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 1.0])
def test_the_share_without_data_is_about_what_was_asked_for(share, shape):
    scene = synthetic.simulate_scene((60, 80), no_data=share, no_data_shape=shape)
    assert scene.no_data.mean() == pytest.approx(share, abs=0.08)
    values = scene.reflectance()
    assert ((values == NO_DATA).all(axis=-1) == scene.no_data).all()
    assert ((values == NO_DATA).any(axis=-1) == scene.no_data).all()


def test_the_truth_is_labelled_by_pixel_centres_and_nan_where_no_data(scene):
    truth = scene.truth()
    assert truth.abundance.dims == ("endmember", "y", "x")
    assert truth.y.values[0] == 4306000 + 70 - 0.5
    assert truth.x.values[0] == 368000.5
    assert truth.endmember.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert (truth.abundance.isnull().all("endmember").values == scene.no_data).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"materials": ("lava",)}, "lava"),
        ({"materials": ()}, "choose from"),
        ({"wavelength": [300.0]}, "350"),
        ({"shape": (0, 5)}, r"\(0, 5\)"),
        ({"no_data": 2.0}, "no_data 2.0"),
    ],
)
def test_a_scene_that_cannot_be_is_refused_with_the_value(options, said):
    with pytest.raises(ConfigError, match=said):
        synthetic.simulate_scene(**options)


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("revision", REFLECTANCE_REVISIONS)
@pytest.mark.parametrize("chunks", [None, (16, 50, 7)])
def test_a_file_holds_the_scenes_exact_values_whatever_its_chunks(tmp_path, scene, revision, chunks):
    path = synthetic.write_neon_tile(tmp_path / "tile.h5", scene, revision=revision, chunks=chunks)
    with h5py.File(path) as file:
        data = file["SERC/Reflectance/Reflectance_Data"]
        assert data.dtype == ("i4" if revision == "rewritten" else "i2")
        assert data.compression == "gzip"
        assert data.compression_opts == 3
        assert not data.shuffle
        usual = {"DP1.001-2016": (70, 23, 27), "DP3.001": (32, 63, 27), "DP3.002": (70, 90, 1)}
        assert data.chunks == (chunks or usual.get(revision, (13, 13, 13)))
        np.testing.assert_array_equal(data[...], scene.reflectance())


@pytest.mark.parametrize("revision", REFLECTANCE_REVISIONS)
def test_every_revision_says_where_it_is_and_what_its_numbers_mean(tmp_path, scene, revision):
    path = synthetic.write_neon_tile(tmp_path, scene, revision=revision)
    with h5py.File(path) as file:
        group = file["SERC/Reflectance"]
        assert scalar(group["Reflectance_Data"].attrs["Data_Ignore_Value"]) == NO_DATA
        assert scalar(group["Reflectance_Data"].attrs["Scale_Factor"]) == 10000.0
        system = group["Metadata/Coordinate_System"]
        assert scalar(system["EPSG Code"][()]) == b"32618"
        fields = [field.strip() for field in scalar(system["Map_Info"][()]).decode().split(",")]
        assert (float(fields[3]), float(fields[4])) == (368000.0, 4306070.0)
        assert len(fields) == (11 if revision == "DP1.001-2016" else 12)
        wavelength = group["Metadata/Spectral_Data/Wavelength"][...]
        np.testing.assert_allclose(wavelength, scene.wavelength, atol=1e-3)
        if revision == "rewritten":
            assert "Band_Window_1_Nanometers" not in group.attrs
            assert set(group["Metadata"]) == {"Coordinate_System", "Spectral_Data"}
            return
        assert group.attrs["Band_Window_1_Nanometers"].tolist() == [1340, 1445]
        assert group.attrs["Band_Window_2_Nanometers"].tolist() == [1790, 1955]
        assert scalar(group["Reflectance_Data"].attrs["Interleave"]) == "BSQ"
        extent = group["Reflectance_Data"].attrs["Spatial_Extent_meters"]
        assert extent.tolist() == [368000, 368090, 4306000, 4306070]


@pytest.mark.parametrize(
    ("revision", "dtypes", "absent"),
    [
        ("DP1.001-2016", {"Aerosol_Optical_Depth": "i2", "Water_Vapor_Column": "i2", "Cast_Shadow": "u1"},
         {"Weather_Quality_Indicator", "Data_Selection_Index", "Acquisition_Date"}),
        ("DP3.001", {"Aerosol_Optical_Depth": "i2", "Water_Vapor_Column": "f4", "Sky_View_Factor": "u1",
                     "Weather_Quality_Indicator": "u1", "Data_Selection_Index": "i4"}, {"Acquisition_Date"}),
        ("DP3.002", {"Aerosol_Optical_Thickness": "f4", "Cast_Shadow": "f4", "Visibility_Index_Map": "f4",
                     "Weather_Quality_Indicator": "i4", "Acquisition_Date": "i4"}, {"Aerosol_Optical_Depth"}),
    ],
)  # fmt: skip
def test_quality_layers_have_the_revisions_names_types_and_off_swath_values(tmp_path, scene, revision, dtypes, absent):
    path = synthetic.write_neon_tile(tmp_path, scene, revision=revision)
    with h5py.File(path) as file:
        layers = file["SERC/Reflectance/Metadata/Ancillary_Imagery"]
        assert {name: layers[name].dtype for name in dtypes} == dtypes
        assert not absent & set(layers)
        for layer in layers.values():
            assert layer.shape[:2] == scene.shape
            assert (layer[...][scene.no_data] == (OFF_SWATH if layer.dtype == "u1" else NO_DATA)).all()
            assert layer.attrs["Data_Ignore_Value"] == NO_DATA
        assert set(np.unique(layers["Cast_Shadow"][...][~scene.no_data])) == {0, 1}
        haze = layers["Haze_Cloud_Water_Map"][...]
        assert {1, 5, 17} <= set(np.unique(haze)) <= {1, 5, 15, 17, OFF_SWATH}


def test_weather_is_coloured_up_to_2021_and_numbered_after(tmp_path, scene):
    weather = {}
    for revision in ("DP3.001", "DP3.002"):
        path = synthetic.write_neon_tile(tmp_path, scene, revision=revision)
        with h5py.File(path) as file:
            weather[revision] = file["SERC/Reflectance/Metadata/Ancillary_Imagery/Weather_Quality_Indicator"][...]
    numbers, colours = weather["DP3.002"][~scene.no_data], weather["DP3.001"][~scene.no_data]
    assert set(np.unique(numbers)) == {1, 2, 3}
    for number, colour in ((1, (0, 255, 0)), (2, (255, 255, 0)), (3, (255, 0, 0))):
        assert (colours[numbers == number] == colour).all()


def test_logs_and_view_angles_follow_the_revision(tmp_path, scene):
    found = {}
    for revision in REFLECTANCE_REVISIONS[:3]:
        path = synthetic.write_neon_tile(tmp_path, scene, revision=revision)
        with h5py.File(path) as file:
            metadata = file["SERC/Reflectance/Metadata"]
            angle = next(name for name in metadata if "zimuth" in name)
            logs = metadata["Logs"]
            line = logs if "Solar_Zenith_Angle" in logs else next(iter(logs.values()))
            found[revision] = (angle, next(iter(logs)), "BRDF_COEFFS_JSON_for_Hytools" in line)
            assert line["Solar_Zenith_Angle"].shape == ()
    assert found == {
        "DP1.001-2016": ("to-sensor_Azimuth_Angle", "ATCOR_Input_file", False),
        "DP3.001": ("to-sensor_azimuth_angle", "150634", False),
        "DP3.002": ("to-sensor_Azimuth_Angle", "L004-1_20220623", True),
    }


def test_types_of_the_ignore_value_and_the_brdf_attribute_follow_the_revision(tmp_path, scene):
    attributes = {}
    for revision in REFLECTANCE_REVISIONS[:3]:
        path = synthetic.write_neon_tile(tmp_path, scene, revision=revision)
        with h5py.File(path) as file:
            attributes[revision] = dict(file["SERC/Reflectance/Reflectance_Data"].attrs)
    assert attributes["DP3.001"]["Data_Ignore_Value"].dtype == "f8"
    assert attributes["DP3.002"]["Data_Ignore_Value"].dtype == "i4"
    assert [name for name in attributes if "BRDF Correction" in attributes[name]] == ["DP3.002"]
    assert attributes["DP1.001-2016"]["Scale_Factor"].shape == (1,)
    assert "Cloud conditions" in attributes["DP1.001-2016"]


def test_fwhm_can_be_shorter_than_the_wavelengths_as_in_2016(tmp_path, scene):
    path = synthetic.write_neon_tile(tmp_path, scene, revision="DP1.001-2016", fwhm_count=421)
    with h5py.File(path) as file:
        assert file["SERC/Reflectance/Metadata/Spectral_Data/FWHM"].shape == (421,)


@pytest.mark.parametrize(
    ("revision", "name"),
    [
        ("DP1.001-2016", "NEON_D02_SERC_DP1_20160807_160559_reflectance.h5"),
        ("DP3.001", "NEON_D02_SERC_DP3_368000_4306000_reflectance.h5"),
        ("DP3.002", "NEON_D02_SERC_DP3_368000_4306000_bidirectional_reflectance.h5"),
        ("radiance", "NEON_D02_SERC_DP1_20160807_160559_radiance.h5"),
    ],
)
def test_a_file_in_a_folder_gets_neons_name_and_nothing_is_left_beside_it(tmp_path, scene, revision, name):
    path = synthetic.write_neon_tile(tmp_path / "new", scene.window(slice(60, 70)), revision=revision)
    assert [each.name for each in (tmp_path / "new").iterdir()] == [path.name] == [name]


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path, scene, monkeypatch):
    path = synthetic.write_neon_tile(tmp_path, scene)
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("hsi_dask.synthetic.neon_files.digital_numbers", full)
    with pytest.raises(OSError, match="disk full"):
        synthetic.write_neon_tile(tmp_path, scene)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_does_not_depend_on_the_number_of_threads(tmp_path, scene):
    one, three = (synthetic.write_neon_tile(tmp_path / f"{workers}.h5", scene, workers=workers) for workers in (1, 3))
    with h5py.File(one) as first, h5py.File(three) as second:
        name = "SERC/Reflectance/Reflectance_Data"
        np.testing.assert_array_equal(first[name][...], second[name][...])


def test_radiance_and_the_flat_layout_of_2013_look_like_what_readers_must_refuse(tmp_path, scene):
    small = scene.window(slice(0, 20), slice(0, 30))
    with h5py.File(synthetic.write_neon_tile(tmp_path, small, revision="radiance")) as file:
        assert "Reflectance" not in file["SERC"]
        assert file["SERC/Radiance/RadianceIntegerPart"].dtype == "u1"
        assert file["SERC/Radiance/RadianceDecimalPart"].dtype == "u2"
    with h5py.File(synthetic.write_neon_tile(tmp_path, small, revision="flat-2013")) as file:
        assert file["Reflectance"].shape == (426, 20, 30)
        assert file["Reflectance"].attrs["data ignore value"] == "15000.0"
        assert 0.3 < file["wavelength"][...].min() < 0.4


def test_an_unknown_revision_is_refused_with_the_known_ones(tmp_path, scene):
    with pytest.raises(ConfigError, match=r"DP9.*DP3\.001"):
        synthetic.write_neon_tile(tmp_path, scene, revision="DP9")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ sites


def test_a_site_is_adjacent_tiles_of_both_kinds_of_chunks_with_one_truth(tmp_path):
    site = synthetic.simulate_site(tmp_path, tiles=(2, 2), size=40, seed=3)
    assert [path.name for path in site.paths] == [
        "NEON_D02_SERC_DP3_368000_4306040_reflectance.h5",
        "NEON_D02_SERC_DP3_368040_4306040_reflectance.h5",
        "NEON_D02_SERC_DP3_368000_4306000_reflectance.h5",
        "NEON_D02_SERC_DP3_368040_4306000_reflectance.h5",
    ]
    whole = site.scene.reflectance()
    for path, scene in zip(site.paths, site.scenes, strict=True):
        with h5py.File(path) as file:
            left, _, _, top = file["SERC/Reflectance/Reflectance_Data"].attrs["Spatial_Extent_meters"]
            row, col = int(4306080 - top), int(left - 368000)
            values = file["SERC/Reflectance/Reflectance_Data"][...]
            wavelength = file["SERC/Reflectance/Metadata/Spectral_Data/Wavelength"][...]
        assert (wavelength == site.scene.wavelength).all()  # float32 and float64 alike
        window = np.s_[row : row + 40, col : col + 40]
        np.testing.assert_array_equal(values, whole[window])
        np.testing.assert_array_equal(scene.abundance, site.scene.abundance[:, *window])


@pytest.mark.parametrize("options", [{"size": 7}, {"revisions": ("DP1.001-2016",)}, {"revisions": ()}, {"size": 0}])
def test_a_site_that_cannot_be_is_refused(tmp_path, options):
    with pytest.raises(ConfigError):
        synthetic.simulate_site(tmp_path, **({"size": 40} | options))


# ------------------------------------------------------------------------------------------------ truth


def true_maps(scene, order):
    """The truth as a run would have found it, endmembers in another order."""
    truth = scene.truth().isel(endmember=order).assign_coords(endmember=np.arange(1, len(order) + 1))
    nearest = truth.abundance.fillna(0).argmax("endmember").astype("uint8") + 1
    return truth.endmembers, truth[["abundance"]].assign(sam_class=nearest.where(~scene.no_data, 255))


def test_the_truth_compared_with_itself_agrees_whatever_the_order_of_endmembers(scene):
    order = [4, 2, 0, 5, 1, 3]
    found = synthetic.compare_with_truth(*true_maps(scene, order), scene)
    assert found.names == scene.names
    assert [order[number - 1] for number in found.found] == list(range(6))
    assert found.angle.max() < 1e-3  # float32
    assert found.abundance_rmse.max() < 1e-6
    assert set(found.classes) == {"sam_class"}
    np.testing.assert_array_equal(found.classes["sam_class"], 1)
    assert found.pixels.sum() == ((scene.abundance.max(axis=0) >= 0.9) & ~scene.no_data).sum()


def test_a_material_that_nothing_was_found_for_has_no_endmember(scene):
    endmembers, maps = true_maps(scene, [1, 0])
    found = synthetic.compare_with_truth(endmembers, maps, scene)
    assert found.found.tolist() == [2, 1, 0, 0, 0, 0]
    assert np.isnan(found.angle[2:]).all()
    assert np.isnan(found.classes["sam_class"][2:]).all()


def test_a_mosaic_may_be_larger_than_the_scene_and_wavelengths_may_be_left_out(scene):
    endmembers, maps = true_maps(scene, [0, 1, 2, 3, 4, 5])
    part = scene.window(slice(10, 50), slice(20, 80))
    found = synthetic.compare_with_truth(endmembers.isel(wavelength=slice(20, 200)), maps, part)
    assert found.abundance_rmse.max() < 1e-6
    assert found.angle.max() < 1e-3


# ---------------------------------------------------------------------------------- variability within a material


@pytest.fixture(scope="module")
def varied():
    return synthetic.simulate_scene((90, 120), variability=0.1, noise=0.0, illumination=None, seed=3)


def test_spectra_of_a_material_vary_by_the_share_asked_for_and_abundances_stay(varied):
    even = synthetic.simulate_scene((90, 120), noise=0.0, illumination=None, seed=3)
    np.testing.assert_array_equal(varied.abundance, even.abundance)
    calm = (varied.wavelength > 450) & (varied.wavelength < 1300)
    for material, spectrum in enumerate(varied.endmembers):
        pure = varied.reflectance()[varied.abundance[material] > 0.999][:, calm] / 1e4
        assert 0.04 < (pure / spectrum[calm] - 1).std() < 0.2


def test_a_part_of_a_varied_scene_is_that_part_of_the_whole(varied):
    whole = varied.reflectance()
    part = varied.window(slice(20, 50), slice(30, 70))
    np.testing.assert_array_equal(part.reflectance(bands=slice(100, 140)), whole[20:50, 30:70, 100:140])


def test_a_library_of_a_scene_is_of_its_bundles_and_classes(varied):
    library = varied.library(8, seed=1)
    assert library.material.values.tolist() == list(np.repeat(varied.names, 8))
    np.testing.assert_array_equal(library, varied.library(8, seed=1))
    assert (library != varied.library(8, seed=2)).any()
    # pixels of a material and its spectra vary by the same few curves
    curves = np.linalg.svd(library[:8].values - varied.endmembers[0], full_matrices=False)[2][:3]
    calm = (varied.wavelength < 1330) | ((varied.wavelength > 1460) & (varied.wavelength < 1780))
    pure = varied.reflectance()[varied.abundance[0] == 1][:, calm] / 1e4 - varied.endmembers[0, calm]
    outside = pure - np.linalg.lstsq(curves[:, calm].T, pure.T, rcond=None)[0].T @ curves[:, calm]
    assert np.abs(outside).max() < 1e-4  # a digital number


def test_without_variability_a_library_repeats_the_spectra():
    scene = synthetic.simulate_scene((20, 20))
    np.testing.assert_allclose(scene.library(2), np.repeat(scene.endmembers, 2, axis=0))
    with pytest.raises(ConfigError, match=r"variability -0.1 >= 0"):
        synthetic.simulate_scene((20, 20), variability=-0.1)


def test_a_site_of_varied_materials_is_written_tile_by_tile(tmp_path):
    site = synthetic.simulate_site(tmp_path, tiles=(1, 2), size=40, variability=0.1, no_data=0)
    for scene, path in zip(site.scenes, site.paths, strict=True):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["SERC/Reflectance/Reflectance_Data"][:], scene.reflectance())


def test_a_site_and_its_scene_are_printed_on_a_line(tmp_path):
    site = synthetic.simulate_site(tmp_path, tiles=(1, 2), size=20)
    assert str(site) == (
        f"Site of 2 tiles in {tmp_path}: Scene of 20 x 40 pixels at 368000 E, 4306000 N: "
        "vegetation, soil, asphalt, roof, water, dry_vegetation; 426 wavelengths, seed 0"
    )
