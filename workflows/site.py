"""A whole site: one set of endmembers for all tiles, maps in one mosaic, resumed by running it again.

    python workflows/site.py RUN_DIR TILE... [--config workflows/site.yaml]

The same as `hsi-dask run TILE... --config FILE --out RUN_DIR`, followed by a look at the results.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import hsi_dask as hsi


def map_site(run_dir: Path, tiles: Sequence[str], config: Path) -> None:
    """Configuration, run, results."""
    settings = hsi.RunConfig.from_yaml(config).replace(tiles=tuple(tiles))
    summary = hsi.run(settings, run_dir)
    print(f"{len(summary.done)} tiles mapped, {len(summary.skipped)} before, {len(summary.failed)} failed")
    for tile, reason in summary.failed.items():
        print(f"{tile}: {reason}")

    maps = hsi.open_results(run_dir)  # lazy: any site fits
    print(f"{maps.sizes['y']} x {maps.sizes['x']} pixels, {maps.rio.crs}")
    seen = (maps.sam_class != 255).sum()
    for number in maps.endmember.values:
        share = ((maps.sam_class == number).sum() / seen).compute()
        mean = maps.abundance.sel(endmember=number).mean().compute()
        print(f"endmember {number}: mean abundance {float(mean):.3f}, {float(share):.1%} of pixels by SAM")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="everything is written here")
    parser.add_argument("tiles", nargs="+", help="reflectance files, folders of them, or patterns")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("site.yaml"))
    options = parser.parse_args(arguments)
    map_site(options.run_dir, options.tiles, options.config)


if __name__ == "__main__":
    main()
