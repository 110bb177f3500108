"""The tiles of a site and year: which of them are wanted, and all of them brought to a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from hsi_dask.download.catalogue import FILE_NAME, Offer, RemoteFile, renewed
from hsi_dask.download.service import Service
from hsi_dask.download.transfer import fetch, lacking
from hsi_dask.errors import ConfigError, DownloadError, RunError, counted
from hsi_dask.io.documents import Count, Text, matching, read_document
from hsi_dask.io.durable import write_file
from hsi_dask.io.neon.listing import LISTING
from hsi_dask.io.regions import Region, inside, overlap

_SIDE = 1000  # metres, of a tile
FileName = Annotated[str, matching(FILE_NAME, "a file's name, such as NEON_D02_SERC_DP3_368000_4306000_reflectance.h5")]


@dataclass(frozen=True)
class Downloaded:
    """What came of a download: folders with files, and why others did not arrive."""

    folders: tuple[Path, ...]
    there: int
    downloaded: int
    failed: dict[str, str]


def tiles_of(offer: Offer, names: Sequence[str] = (), region: Region | None = None) -> list[RemoteFile]:
    """The files of an offer that are wanted: all, those of tiles with these names, or those that touch an area.

    Parameters
    ----------
    names : easting_northing of south-west corners, such as 368000_4306000
    region : in the CRS of the tiles

    Raises
    ------
    ConfigError
        There are none, or no tile of such a name.
    """
    if not offer.files:
        raise ConfigError(f"NEON lists no reflectance file of {offer.flown_as} in {offer.year}, of {offer.product}")
    wanted = list(offer.files)
    if not names and region is None:
        return wanted
    corners = {file: file.corner for file in wanted}
    if not any(corners.values()):
        raise ConfigError(f"the files of {offer.product} are flight lines, whose names tell no place; download all")
    if names:
        known = {f"{corner[0]:.0f}_{corner[1]:.0f}" for corner in corners.values() if corner}
        if missing := sorted(set(names) - known):
            raise ConfigError(f"there is no tile {missing[0]}; there are {len(known)}, such as {min(known)}")
        wanted = [file for file, corner in corners.items() if corner and f"{corner[0]:.0f}_{corner[1]:.0f}" in names]
    if region is not None:
        wanted = [file for file in wanted if (corner := corners[file]) and _touches(corner, region)]
        if not wanted:
            raise ConfigError(_apart(region, [corner for corner in corners.values() if corner]))
    return wanted


def place_of(offer: Offer, file: RemoteFile, root: Path) -> Path:
    """Where a file goes: below the folder of its product and visit, from which `run` tells both."""
    return root / offer.product / file.folder / file.name


def missing_bytes(offer: Offer, files: Sequence[RemoteFile], root: Path) -> int:
    """How much of the files is still to be downloaded, by their sizes: nothing is read."""
    return sum(lacking(file, place_of(offer, file, root)) for file in files)


def download(
    service: Service, offer: Offer, files: Sequence[RemoteFile], root: Path, advanced: Callable[[float], None]
) -> Downloaded:
    """Bring files to their places; one that does not arrive does not stop the others.

    advanced : hears which share of all bytes is there
    """
    total, arrived = max(1, sum(file.size for file in files)), 0
    outcomes, failed = {"there": 0, "downloaded": 0}, dict[str, str]()

    def arrive(count: int) -> None:
        nonlocal arrived
        arrived += count
        advanced(min(max(arrived / total, 0.0), 0.999))

    folders = sorted({place_of(offer, file, root).parent for file in files})
    for folder in folders:
        _make_folder(folder)
    for file in files:
        before = arrived
        try:
            outcome = fetch(
                service, file, place_of(offer, file, root),
                renew=lambda old: renewed(service, offer, old), arrived=arrive,
            )  # fmt: skip
            outcomes[outcome] += 1
        except DownloadError as error:
            failed[file.name] = str(error)
            arrive(before + file.size - arrived)  # it counts as settled
    for folder in folders:
        _write_listing(folder, offer, [file for file in files if place_of(offer, file, root).parent == folder])
    advanced(1.0)
    return Downloaded(tuple(folders), outcomes["there"], outcomes["downloaded"], failed)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}); give another folder with --to") from error


def _write_listing(folder: Path, offer: Offer, files: Sequence[RemoteFile]) -> None:
    """What is in a folder: no address, for addresses hold signatures."""
    entries = {
        file.name: {"size": file.size, "month": file.month}
        | {name: value for name in ("crc32c", "md5", "crc32") if (value := getattr(file, name))}
        for file in files
        if (folder / file.name).is_file()
    }
    values = {
        "product": offer.product, "site": offer.site, "flown_as": offer.flown_as, "releases": offer.releases,
        "citation": offer.citation, "files": _kept(folder) | entries,
    }  # fmt: skip
    write_file(folder / LISTING, json.dumps(values, indent=1).encode())


@dataclass(frozen=True)
class _Entry:
    """What a listing says of a file."""

    size: Count
    month: Text
    crc32c: Text | None = None
    md5: Text | None = None
    crc32: Text | None = None


@dataclass(frozen=True)
class _Listing:
    OTHER_KEYS: ClassVar[bool] = True
    files: Mapping[FileName, _Entry]


def _kept(folder: Path) -> dict[str, object]:
    """Files of an earlier download into the same folder; none where its listing is damaged."""
    try:
        found = read_document(folder / LISTING, _Listing).files
    except RunError:
        return {}
    return {
        name: {key: value for key, value in asdict(entry).items() if value is not None}
        for name, entry in found.items()
        if (folder / name).is_file()
    }


def _touches(corner: tuple[float, float], region: Region) -> bool:
    west, south = corner
    if not overlap((west, south, west + _SIDE, south + _SIDE), region.bounds):
        return False
    return bool(inside(region, (west, south + _SIDE), (1.0, 1.0), (_SIDE, _SIDE)).any())


def _apart(region: Region, corners: Sequence[tuple[float, float]]) -> str:
    from hsi_dask.io.regions import extent_text

    easts, norths = zip(*corners, strict=True)
    spanned = min(easts), min(norths), max(easts) + _SIDE, max(norths) + _SIDE
    return (
        f"the area ({region.name}) touches none of the {counted(len(corners), 'tile')}: it spans "
        f"{extent_text(region.bounds, region.crs)}, the tiles {extent_text(spanned, region.crs)}; correct the area"
    )
