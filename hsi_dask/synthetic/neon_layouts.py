"""How NEON's files of each revision are laid out: groups, names, chunks, types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Revision = Literal["DP1.001-2016", "DP3.001", "DP3.002", "rewritten", "radiance", "flat-2013"]


@dataclass(frozen=True)
class Layout:
    """How one revision lays out a file; a chunk axis of 0 means the whole axis."""

    chunks: tuple[int, int, int]
    product: str = "DP3"
    suffix: str = "reflectance"
    float_layers: bool = False  # Cast_Shadow and its like: f4 since .002, u1 before
    vapour: str = "f4"
    aerosol: str = "Aerosol_Optical_Depth"
    weather: Literal["absent", "rgb", "integer"] = "rgb"
    selection: bool = True
    azimuth: str = "to-sensor_azimuth_angle"
    ignore: str = "f8"
    logs: tuple[str, ...] = ("150634", "151211")
    cloud_name: str = "Cloud_conditions"


WKT = (
    'PROJCS["WGS 84 / UTM zone {zone}N",GEOGCS["WGS 84",DATUM["WGS_1984",'
    'SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",{meridian}],PARAMETER["scale_factor",0.9996],'
    'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1],AUTHORITY["EPSG","{code}"]]'
)


LOGS = ("ATCOR_Input_file", "ATCOR_Processing_Log", "Shadow_Processing_Log", "Skyview_Processing_Log")
LINE = "20160807_160559"


LAYOUTS: dict[str, Layout] = {
    "DP1.001-2016": Layout(
        (100, 23, 27), "DP1", vapour="i2", weather="absent", selection=False, logs=(),
        azimuth="to-sensor_Azimuth_Angle", cloud_name="Cloud conditions",
    ),
    "DP3.001": Layout((32, 63, 27)),
    "DP3.002": Layout(
        (0, 0, 1), suffix="bidirectional_reflectance", float_layers=True, aerosol="Aerosol_Optical_Thickness",
        weather="integer", azimuth="to-sensor_Azimuth_Angle", ignore="i4",
        logs=("L004-1_20220623", "L005-1_20220623"),
    ),
    "rewritten": Layout((13, 13, 13)),
    "radiance": Layout((32, 63, 27), "DP1", "radiance"),
    "flat-2013": Layout((27, 32, 63), "DP1"),
}  # fmt: skip


def text_value(value: str, odd: bool = False) -> Any:
    """A string as NEON stores it, in bytes; odd: in an array of one, as rewritten files have it."""
    return np.array([value.encode()], dtype=object) if odd else value.encode()


def put_text(group: Any, name: str, value: str, odd: bool = False) -> None:
    import h5py

    group.create_dataset(name, data=text_value(value, odd), dtype=h5py.string_dtype("ascii"))
