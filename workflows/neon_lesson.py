"""The NEON lesson on unmixing and classification, retold on one tile: what is there, and where.

Run it on a NEON reflectance file, or without one on a simulated tile:

    python workflows/neon_lesson.py [NEON_..._reflectance.h5] [--out lesson.zarr]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import hsi_dask as hsi

ENDMEMBERS = 4
THRESHOLDS = {"sam": 0.15, "sid": 0.25}  # radians, nats; noise alone moves dark water by 0.11 and 0.18
# Besides the water-vapour windows the first bands are left out: single pixels are wildly bright there, and N-FINDR
# looks for extremes
WINDOWS = [(350.0, 400.0), (1340.0, 1445.0), (1790.0, 1955.0)]  # nm


def lesson(tile: Path, out: Path) -> None:
    """Open, clean, sample, find endmembers, unmix, classify, save."""
    cube = hsi.open_neon(tile)
    print(f"{tile.name}: {dict(cube.sizes)}, {cube.rio.crs}, {float(cube.wavelength[0]):.0f} nm on")

    cube = hsi.select_bands(cube, windows=WINDOWS)
    print(f"clean: {cube.sizes['wavelength']} wavelengths left")

    pixels = hsi.sample_pixels(cube, 10_000)
    endmembers = hsi.find_endmembers(pixels, ENDMEMBERS)
    for place in endmembers.endmember:
        spectrum = endmembers.sel(endmember=place)
        print(f"endmember {int(place)}: at {float(spectrum.x):.1f} E, {float(spectrum.y):.1f} N")

    maps = hsi.map_materials(cube, endmembers, thresholds=THRESHOLDS).compute()  # one pass over the file
    for number, mean in zip(maps.endmember.values, maps.abundance.mean(("y", "x")).values, strict=True):
        shares = [float((maps[classes] == number).mean()) for classes in ("sid_class", "sam_class")]
        print(
            f"endmember {number}: mean abundance {mean:.3f}, {shares[0]:.1%} of pixels by SID, {shares[1]:.1%} by SAM"
        )

    # the scores are kept, so a stricter threshold reads nothing again
    strict = hsi.threshold_classes(maps.sam_angle, 0.05)
    print(
        f"unclassified by SAM: {float((maps.sam_class == 0).mean()):.1%}, at 0.05 rad {float((strict == 0).mean()):.1%}"
    )

    maps.to_zarr(out, mode="w", consolidated=False)
    print(f"saved in {out}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tile", nargs="?", type=Path, help="a NEON reflectance file; simulated unless given")
    parser.add_argument("--out", type=Path, default=Path("lesson.zarr"), help="where the maps go (lesson.zarr)")
    options = parser.parse_args(arguments)
    if options.tile is not None:
        lesson(options.tile, options.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        materials = ("vegetation", "soil", "asphalt", "water")
        scene = hsi.synthetic.simulate_scene((300, 300), materials=materials, illumination=(0.9, 1.05), no_data=0.05)
        lesson(hsi.synthetic.write_neon_tile(folder, scene), options.out)


if __name__ == "__main__":
    main()
