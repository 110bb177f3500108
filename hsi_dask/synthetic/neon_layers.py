"""The quality layers, view angles and logs beside a simulated cube."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from hsi_dask.synthetic.fields import patch_weights
from hsi_dask.synthetic.neon_layouts import LOGS, Layout, put_text, text_value
from hsi_dask.synthetic.scenes import NO_DATA, Scene
from hsi_dask.synthetic.spectra import WATER_WINDOWS

Array = npt.NDArray[Any]


OFF_SWATH = 241  # what NEON's one-byte layers hold outside the swath, although their attribute says -9999


def _ancillary(scene: Scene, layout: Layout) -> dict[str, Array]:
    """The quality layers before the swath is cut out: smooth terrain, patches of cloud and of cast shadow."""
    rows, cols = np.arange(*scene.rows), np.arange(*scene.cols)
    cloud, shadow = (
        patch_weights(scene.seed, name, rows, cols, 1.5 * scene.patch, 5)[0] for name in ("cloud", "shadow")
    )
    weather = np.where(cloud > 0.75, 3, np.where(cloud > 0.4, 2, 1))
    lit = np.where(shadow > 0.6, 0, 1)  # 1 = lit in the files looked at
    relief, aspect, air = scene.field("relief", 6), 360 * scene.field("aspect", 8), scene.field("air", 10)
    slope, sun = np.radians(15 * relief), np.radians(35.0)
    cosine = np.cos(sun) * np.cos(slope) + np.sin(sun) * np.sin(slope) * np.cos(np.radians(aspect - 150))
    names = np.array(scene.names)
    water = scene.abundance[names == "water"].sum(axis=0)
    haze = np.select([weather == 3, lit == 0, water > 0.5], [15, 1, 17], 5)
    flag = "f4" if layout.float_layers else "u1"
    line = np.tile((scene.x > scene.x.mean()).astype("i4"), (scene.shape[0], 1))  # the mosaic of two lines
    layers = {
        layout.aerosol: 0.1 + 0.1 * air if layout.float_layers else (100 + 100 * air).astype("i2"),
        "Aspect": aspect,
        "Cast_Shadow": lit.astype(flag),
        "Dark_Dense_Vegetation_Classification": (relief > 0.6).astype("u1"),
        "Haze_Cloud_Water_Map": haze.astype("u1"),
        "Illumination_Factor": np.clip(100 * cosine, 0, 100).astype(flag),  # cos(i) x 100
        "Path_Length": 1000 + 30 * relief,
        "Sky_View_Factor": (95 + 5 * relief).astype(flag),
        "Slope": 15 * relief,
        "Smooth_Surface_Elevation": 5 + 40 * relief,
        "Visibility_Index_Map": (40 + 20 * air).astype(flag),
        "Water_Vapor_Column": (1500 + 800 * air).astype("i2") if layout.vapour == "i2" else 1.5 + 0.8 * air,
    }
    if layout.weather == "rgb":
        colours = np.array([(0, 255, 0), (255, 255, 0), (255, 0, 0)], "u1")  # green, yellow, red
        layers["Weather_Quality_Indicator"] = colours[weather - 1]
    if layout.weather == "integer":
        layers["Weather_Quality_Indicator"] = weather.astype("i4")
        layers["Acquisition_Date"] = np.full(scene.shape, 20220623, "i4")
    if layout.selection:
        layers["Data_Selection_Index"] = line
    return {name: layer.astype("f4") if layer.dtype == "f8" else layer for name, layer in layers.items()}


def _view_angles(scene: Scene, layout: Layout) -> dict[str, Array]:
    zenith = layout.azimuth.replace("Azimuth", "Zenith").replace("azimuth", "zenith")
    azimuths, zeniths = 90 + 180 * scene.field("aspect", 30), 18 * scene.field("air", 30)
    return {layout.azimuth: azimuths.astype("f4"), zenith: zeniths.astype("f4")}


def write_ancillary(group: Any, scene: Scene, layout: Layout) -> None:
    """Quality layers and view angles, a thousand rows at a time: a flight line has ten thousand."""
    metadata = group["Metadata"]
    for top in range(0, scene.shape[0], 1000):
        part = scene.window(slice(top, top + 1000))
        layers = {f"Ancillary_Imagery/{name}": layer for name, layer in _ancillary(part, layout).items()}
        for name, layer in (layers | _view_angles(part, layout)).items():
            layer[part.no_data] = OFF_SWATH if layer.dtype == "u1" else NO_DATA
            if top == 0:
                shape = (scene.shape[0], *layer.shape[1:])
                data = metadata.create_dataset(name, shape, layer.dtype, compression=3)
                data.attrs["Data_Ignore_Value"] = np.dtype(layout.ignore).type(NO_DATA)
                data.attrs["Units"] = text_value("degrees" if "ngle" in name else "unitless")
            metadata[name][top : top + len(layer)] = layer


def write_logs(group: Any, layout: Layout) -> None:
    for line in layout.logs or ("",):
        logs = group.require_group(f"Metadata/Logs/{line}".rstrip("/"))
        for number, name in enumerate(("Solar_Azimuth_Angle", "Solar_Zenith_Angle")):
            logs.create_dataset(name, data=np.float32((150.0, 35.0)[number]))
        for name in LOGS:
            put_text(logs, name, f"simulated: no {name}")
        if layout.float_layers:
            coefficients = {"kernels": ["ross_thick", "li_sparse_r"], "coefficients": {"1": [0.1, 0.02]}}
            settings = {"file_type": "neon", "bad_bands": WATER_WINDOWS}
            put_text(logs, "BRDF_COEFFS_JSON_for_Hytools", json.dumps(coefficients))
            put_text(logs, "BRDF_Config_JSON_for_Hytools", json.dumps(settings))
