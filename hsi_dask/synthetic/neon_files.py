"""Scenes as files: six layouts in which NEON has published reflectance."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hsi_dask.errors import ConfigError
from hsi_dask.synthetic.neon_layers import write_ancillary, write_logs
from hsi_dask.synthetic.neon_layouts import LAYOUTS, LINE, WKT, Layout, Revision, put_text, text_value
from hsi_dask.synthetic.scenes import NO_DATA, SCALE, Pixels, Scene, digital_numbers
from hsi_dask.synthetic.spectra import WATER_WINDOWS, peak

Array = npt.NDArray[Any]

_PackedChunk = tuple[tuple[int, int, int], bytes | bytearray]  # where it starts, and its bytes


SLAB = 2**25  # int16 values generated at a time per thread: 64 MB


def write_neon_tile(
    target: str | os.PathLike[str],
    scene: Scene,
    *,
    revision: Revision = "DP3.001",
    site: str = "SERC",
    domain: str = "D02",
    zone: int = 18,
    chunks: tuple[int, int, int] | None = None,
    fwhm_count: int | None = None,
    compression: int = 3,
    workers: int | None = None,
) -> Path:
    """Write a scene as a file in NEON's layout. Atomic: the file appears under its name when it is complete.

    Clouds, shadows and terrain are in the quality layers only: reflectance does not show them.

    Parameters
    ----------
    target : path
        A name ending in .h5, or a folder, where the file gets NEON's own name.
    scene : Scene
    revision : {"DP3.001", "DP3.002", "DP1.001-2016", "rewritten", "radiance", "flat-2013"}
        Mosaic tiles up to 2021 and from 2022 on, a flight line of 2016, a tile rewritten by other software,
        int32 and next to no metadata, and two that readers should refuse: radiance, and the layout of 2013.
    site, domain, zone : str, str, int
        Codes for names and groups, and the UTM zone (north).
    chunks : (y, x, wavelength), optional
        Stored chunks, 0 for a whole axis; the revision's own unless given.
    fwhm_count : int, optional
        Store only so many FWHM entries; a line of 2016 has 421 for 426 bands.
    compression : int
        Gzip level; NEON's is 3.
    workers : int, optional
        Threads generating and compressing, each with about 150 MB; up to 4 unless given.

    Returns
    -------
    pathlib.Path
        The file.
    """
    import h5py

    if revision not in LAYOUTS:
        raise ConfigError(f"revision {revision!r} is not known; choose from {', '.join(LAYOUTS)}")
    layout = LAYOUTS[revision]
    path = Path(target)
    path = path if path.suffix == ".h5" else path / _file_name(scene, revision, site, domain)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(part, "w") as file:
            options = {"chunks": chunks or layout.chunks, "compression": compression}
            if revision == "flat-2013":
                _write_flat(file, scene, options)
            elif revision == "radiance":
                _write_radiance(file.create_group(f"{site}/Radiance"), scene, options, zone)
            else:
                group = file.create_group(f"{site}/Reflectance")
                data = _create_reflectance(group, scene, revision, layout, options)
                _write_coordinates(group, scene, revision, zone)
                _write_spectral(group, scene, revision, fwhm_count)
                if revision != "rewritten":
                    write_ancillary(group, scene, layout)
                    write_logs(group, layout)
                _write_cube(data, scene, compression, workers or min(os.cpu_count() or 1, 4))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _file_name(scene: Scene, revision: Revision, site: str, domain: str) -> str:
    if revision == "flat-2013":
        return "NIS1_20130614_095740_atmcor.h5"
    layout = LAYOUTS[revision]
    place = LINE if layout.product == "DP1" else f"{scene.origin[0]}_{scene.origin[1]}"
    return f"NEON_{domain}_{site}_{layout.product}_{place}_{layout.suffix}.h5"


def _fit(chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(chunk or length, length) for chunk, length in zip(chunks, shape, strict=True))


def _create_reflectance(group: Any, scene: Scene, revision: Revision, layout: Layout, options: dict[str, Any]) -> Any:
    shape = (*scene.shape, scene.wavelength.size)
    options = {**options, "chunks": _fit(options["chunks"], shape)}
    odd = revision == "rewritten"
    data = group.create_dataset("Reflectance_Data", shape, "i4" if odd else "i2", **options)
    ignore, scale = np.array([NO_DATA], layout.ignore), np.array([SCALE], "f8")
    data.attrs["Data_Ignore_Value"] = ignore if odd else ignore[0]
    data.attrs["Scale_Factor"] = scale if odd or revision == "DP1.001-2016" else scale[0]
    if odd:
        return data
    for number, window in enumerate(WATER_WINDOWS, start=1):
        group.attrs[f"Band_Window_{number}_Nanometers"] = np.array(window, "i4")
    attributes = {
        layout.cloud_name: "< 10%",
        "Description": "Simulated by hsi_dask.synthetic: not an observation.",
        "Dimension_Labels": "Line, Sample, Wavelength",
        "Dimensions": np.array(shape, "i4"),
        "Interleave": "BSQ",  # so do NEON's files say; it is not the order of the array
        "Spatial_Extent_meters": _extent(scene),
        "Spatial_Resolution_X_Y": np.array([1.0, 1.0]),
        "Units": "Unitless.",
        "Units_Valid_range": np.array([0, SCALE], "i4"),
    }
    if layout.float_layers:
        attributes["BRDF Correction"] = "Topographic and BRDF correction applied (FlexBRDF)"
    for name, value in attributes.items():
        data.attrs[name] = text_value(value) if isinstance(value, str) else value
    if revision == "DP1.001-2016":
        data.attrs["Interleave"] = text_value("BSQ", odd=True)
    return data


def _extent(scene: Scene) -> Array:
    (left, bottom), (height, width) = scene.origin, scene.shape
    return np.array([left, left + width, bottom, bottom + height], "f8")


def _write_coordinates(group: Any, scene: Scene, revision: str, zone: int) -> None:
    left, _, _, top = _extent(scene)
    system = group.require_group("Metadata/Coordinate_System")
    odd = revision == "rewritten"
    info = f"UTM, 1.000, 1.000, {left:.2f}, {top:.1f}, 1.0, 1.0, {zone}, North, WGS-84, units=Meters"
    if revision != "DP1.001-2016":
        info += ", 0"  # 11 fields once, 12 later
    put_text(system, "Map_Info", info, odd)
    put_text(system, "EPSG Code", str(32600 + zone), odd)
    if odd:
        return
    wkt = WKT.format(zone=zone, meridian=6 * zone - 183, code=32600 + zone)
    put_text(system, "Coordinate_System_String", wkt)
    proj4 = "+proj=utm +zone={zone} +datum=WGS84 +units=m +no_defs"
    if revision == "DP1.001-2016":
        proj4 = "UTM +proj +zone={zone} ellps datum=WGS84"  # malformed in the files of that year
    put_text(system, "Proj4", proj4.format(zone=zone))


def _write_spectral(group: Any, scene: Scene, revision: str, fwhm_count: int | None) -> None:
    spectral = group.require_group("Metadata/Spectral_Data")
    kind = "f4" if revision == "DP3.002" else "f8"  # both kinds occur
    values = {"Wavelength": scene.wavelength, "FWHM": scene.fwhm[:fwhm_count]}
    for name, array in values.items():
        if revision == "rewritten" and name == "FWHM":
            continue
        data = spectral.create_dataset(name, data=array.astype(kind))
        if revision != "rewritten":
            data.attrs["Units"] = text_value("nanometers")


def _write_cube(data: Any, scene: Scene, compression: int, workers: int) -> None:
    """Generate and compress in threads, slab by slab; write finished chunks past HDF5's filters."""
    pending: deque[Future[list[_PackedChunk]]] = deque()

    def store() -> None:
        for offset, packed in pending.popleft().result():
            data.id.write_direct_chunk(offset, packed)

    like = np.empty(data.chunks, data.dtype)
    with ThreadPoolExecutor(workers) as pool:
        for pixels, rows, bands in _slabs(scene, data.chunks):
            pending.append(pool.submit(_packed_chunks, scene, pixels, rows, bands, like, compression))
            if len(pending) > workers:
                store()
        while pending:
            store()


def _slabs(scene: Scene, chunks: tuple[int, int, int]) -> Iterator[tuple[Pixels, slice, slice]]:
    """Whole chunk rows and as many whole chunks of bands as make about `SLAB` values."""
    height, total = scene.shape[0], scene.wavelength.size
    group = max(SLAB // (chunks[0] * scene.shape[1]) // chunks[2], 1) * chunks[2]
    for top in range(0, height, chunks[0]):
        rows = slice(top, min(top + chunks[0], height))
        pixels = scene.window(rows)._pixels()
        for first in range(0, total, group):
            yield pixels, rows, slice(first, min(first + group, total))


def _packed_chunks(
    scene: Scene, pixels: Pixels, rows: slice, bands: slice, like: Any, level: int
) -> list[_PackedChunk]:
    """The chunks of a slab, compressed; `like` has their shape and dtype."""
    import imagecodecs

    slab = digital_numbers(scene, pixels, bands).reshape(-1, scene.shape[1], bands.stop - bands.start)
    packed: list[_PackedChunk] = []
    for left in range(0, slab.shape[1], like.shape[1]):
        for first in range(0, slab.shape[2], like.shape[2]):
            values = slab[:, left : left + like.shape[1], first : first + like.shape[2]]
            chunk = np.zeros_like(like)  # whole also at the edges: so HDF5 stores them
            chunk[tuple(map(slice, values.shape))] = values
            packed.append(((rows.start, left, bands.start + first), imagecodecs.deflate_encode(chunk, level)))
    return packed


def _write_radiance(group: Any, scene: Scene, options: dict[str, Any], zone: int) -> None:
    """At-sensor radiance, whole part in one byte, fifty-thousandths in two: sunlight times reflectance."""
    shape = (*scene.shape, scene.wavelength.size)
    options = {**options, "chunks": _fit(options["chunks"], shape)}
    whole = group.create_dataset("RadianceIntegerPart", shape, "u1", **options)
    rest = group.create_dataset("RadianceDecimalPart", shape, "u2", **options)
    rest.attrs["Scale"] = np.float64(50000)
    for top in range(0, shape[0], 64):
        rows = slice(top, min(top + 64, shape[0]))
        radiance = np.clip(scene.reflectance(rows) / SCALE, 0, 2) * (40 * peak(scene.wavelength, 500, 500))
        whole[rows], rest[rows] = np.floor(radiance), np.floor(radiance % 1 * 50000)
    _write_coordinates(group, scene, "radiance", zone)
    _write_spectral(group, scene, "radiance", None)


def _write_flat(file: Any, scene: Scene, options: dict[str, Any]) -> None:
    """The layout of 2013 to 2015: one flat group, wavelength first, micrometres, no-data as a string."""
    shape = (scene.wavelength.size, *scene.shape)
    options = {**options, "chunks": _fit(options["chunks"], shape)}
    data = file.create_dataset("Reflectance", shape, "i2", **options)
    data.attrs["Scale Factor"] = np.array([SCALE], "f8")
    data.attrs["data ignore value"] = text_value("15000.0")
    for top in range(0, shape[1], 64):
        values = scene.reflectance(slice(top, min(top + 64, shape[1])))
        data[:, top : top + 64] = np.moveaxis(np.where(values == NO_DATA, 15000, values), -1, 0)
    left, _, _, top_edge = _extent(scene)
    put_text(file, "map info", f"UTM,1,1,{left:.0f},{top_edge:.0f},1,1,18,North,WGS-84,units=Meters", odd=True)
    file["wavelength"], file["fwhm"] = scene.wavelength[None] / 1000, scene.fwhm[None] / 1000
