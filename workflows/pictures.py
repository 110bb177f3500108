"""The README's pictures, made from the demo's site:

    python workflows/pictures.py [DIR] [--out workflows/pictures]

DIR is an earlier demo's folder, or where a new demo goes. The report is photographed where there is a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from PIL import Image

import hsi_dask as hsi

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def draw(demo: Path, out: Path) -> None:
    """The site and its classes; the endmembers; the abundances."""
    site, results = hsi.open_mosaic(demo / "tiles"), hsi.open_results(demo / "run")
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.1), layout="constrained")
    site.hsi.rgb("true", ax=axes[0])
    site.hsi.rgb("cir", ax=axes[1])
    results.hsi.plot_classes("sam", ax=axes[2])
    save(figure, out / "site.png")
    figure, axis = plt.subplots(figsize=(9, 3.4), layout="constrained")
    results.hsi.plot_endmembers(ax=axis)
    save(figure, out / "endmembers.png")
    save(results.hsi.plot_abundances(), out / "abundances.png")


def photograph(page: Path, target: Path) -> None:
    """The top of the report as a browser shows it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"no Chromium here: {target} stays as it is")
        return
    with tempfile.TemporaryDirectory() as profile:
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        words += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}"]
        words += ["--window-size=1100,1000", f"--screenshot={target.resolve()}", page.resolve().as_uri()]
        subprocess.run([browser, *words], check=True, capture_output=True, timeout=120)
    tell(target)


def save(figure: Any, path: Path) -> None:
    """The figure as a small PNG."""
    figure.savefig(path, dpi=90)
    shrink(path)


def shrink(path: Path) -> None:
    """256 colours are plenty for a few maps."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256)
    small.save(path, optimize=True)
    tell(path)


def tell(path: Path) -> None:
    with Image.open(path) as picture:
        print(f"{path}: {picture.width} x {picture.height} pixels, {path.stat().st_size / 1000:.0f} kB")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", nargs="?", type=Path, default=Path("hsi-dask-demo"), help="the demo's folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pictures"), help="where pictures go")
    options = parser.parse_args(arguments)
    plt.switch_backend("agg")
    options.out.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "hsi_dask", "demo", str(options.demo)], check=True)
    draw(options.demo, options.out)
    photograph(options.demo / "run" / "report.html", options.out / "report.png")


if __name__ == "__main__":
    main()
