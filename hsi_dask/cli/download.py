"""Verb `download`: NEON's reflectance tiles of a site and year, resumed and verified."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsi_dask.cli.app import DONE, FOUND, app
from hsi_dask.cli.output import bytes_text, print_rows
from hsi_dask.cli.progress import downloading_progress
from hsi_dask.cli.settings import Bounds, BoundsCrs, RegionFile, area_of, area_words
from hsi_dask.errors import ConfigError, counted
from hsi_dask.escaping import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsi_dask.download.catalogue import Offer, RemoteFile
    from hsi_dask.download.service import Service
    from hsi_dask.download.site import Downloaded
    from hsi_dask.io.regions import Region


@app.command()
def download(
    site: Annotated[str, typer.Argument(metavar="SITE", help="NEON's code of four letters, such as SERC.")],
    year: Annotated[int, typer.Argument(metavar="YEAR", help="Of the flights.")],
    tiles: Annotated[
        list[str] | None, typer.Option("--tiles", metavar="E_N", help="Such as 368000_4306000; may be repeated.")
    ] = None,
    bounds: Bounds = None,
    bounds_crs: BoundsCrs = None,
    region: RegionFile = None,
    product: Annotated[
        str | None, typer.Option(metavar="CODE", help="Such as DP3.30006.001; else the newest that has the year.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder that gets the tiles.")] = Path("neon"),
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the token, mode 0600; else NEON_TOKEN does.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Download without being asked.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what there is, and stop.")] = False,
) -> int:
    """Fetch tiles from NEON.

    Repeated, a download goes on where it stopped. Files are verified by NEON's checksums.
    """
    from hsi_dask.download.catalogue import find
    from hsi_dask.download.service import API, Service
    from hsi_dask.download.site import download as fetch_all
    from hsi_dask.download.site import missing_bytes, tiles_of
    from hsi_dask.download.token import read_token

    service = Service(read_token(token_file, os.environ), os.environ.get("NEON_API_URL") or API)
    area = area_of(bounds, bounds_crs, region)
    offer = find(service, site, year, product)
    names = [name for words in tiles or () for name in words.replace(",", " ").split()]
    files = tiles_of(offer, names, _region(service, offer, bounds, bounds_crs, region) if area else None)
    missing = missing_bytes(offer, files, to)
    _show(offer, files, missing, to)
    if dry_run:
        return DONE
    if missing:
        _require_room(missing, to)
        _require_consent(missing, yes)
    begun = time.monotonic()
    with downloading_progress() as advanced:
        done = fetch_all(service, offer, files, to, advanced)
    _show_outcome(offer, done, time.monotonic() - begun, area)
    return FOUND if done.failed else DONE


def _region(
    service: Service,
    offer: Offer,
    bounds: tuple[float, float, float, float] | None,
    bounds_crs: int | None,
    file: Path | None,
) -> Region:
    from hsi_dask.download.catalogue import crs_of
    from hsi_dask.io.regions import read_region, region_of_bounds

    crs = crs_of(service, offer.flown_as)
    if file is not None:
        return read_region(file, crs)
    if bounds is None or not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
        raise ConfigError("--bounds must be west, south, east and north, with west below east and south below north")
    return region_of_bounds(bounds, crs, None if bounds_crs is None else f"EPSG:{bounds_crs}")


def _show(offer: Offer, files: Sequence[RemoteFile], missing: int, to: Path) -> None:
    from hsi_dask.batch.tiles.plan import free_bytes

    total, months = sum(file.size for file in files), sorted({file.month for file in files})
    few = f" of {len(offer.files)}" if len(files) < len(offer.files) else ""
    there = f", {bytes_text(total - missing)} of it there already" if missing < total else ""
    print_rows({
        "product": f"{offer.product}, {', '.join(offer.releases)}",
        "site": offer.site if offer.site == offer.flown_as else f"{offer.site}, flown as {offer.flown_as}",
        "flown": ", ".join(months),
        "files": f"{len(files)}{few}, {bytes_text(total)}{there}",
        **({"aside": f"{counted(offer.aside, 'file')} of no reflectance"} if offer.aside else {}),
        "to": f"{to}, {bytes_text(free_bytes(to))} free",
    })  # fmt: skip


def _require_room(missing: int, to: Path) -> None:
    from hsi_dask.batch.tiles.plan import free_bytes

    if (free := free_bytes(to)) < missing:
        raise ConfigError(f"{to} has {bytes_text(free)} free, {bytes_text(missing)} are to come; make room")


def _require_consent(missing: int, yes: bool) -> None:
    """Ask whoever sits there; whoever does not has to say yes beforehand."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{bytes_text(missing)} are to be downloaded, and nobody is here to be asked; give --yes")
    print(f"Download {bytes_text(missing)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError("nothing was downloaded")


def _show_outcome(offer: Offer, done: Downloaded, seconds: float, area: dict[str, object]) -> None:
    failed = f", {len(done.failed)} failed" if done.failed else ""
    print(f"{counted(done.downloaded, 'file')} downloaded in {seconds:.0f} s, {done.there} there before{failed}")
    for name, why in done.failed.items():
        print(f"failed  {name}: {visible(why)}")
    words = ["hsi-dask", "run", str(done.folders[-1]), "--out", f"{offer.site}-{offer.year}", *area_words(area)]
    print_rows({
        **({"visits": f"{', '.join(folder.name for folder in done.folders)}: the command below is of the last"}
           if len(done.folders) > 1 else {}),
        **({"again": "the same command tries the failed ones once more"} if done.failed else {}),
        "cite": offer.citation,
        "run": shlex.join(words),
    })  # fmt: skip
