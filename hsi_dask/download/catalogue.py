"""What NEON offers of a product, a site and a year: the reflectance files, as its data API lists them.

References: https://data.neonscience.org/data-api/endpoints/data and .../products, .../sites.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from hsi_dask.download.service import RefusedError, Service
from hsi_dask.errors import ConfigError, DownloadError

M = TypeVar("M", bound=BaseModel)

PRODUCTS = ("DP3.30006.002", "DP3.30006.001")  # reflectance in tiles: corrected for BRDF and topography, or not
# Sites without a flight of their own, and the one they are flown with
FLOWN_WITH = {"DCFS": "WOOD", "CHEQ": "STEI", "TREE": "STEI", "KONA": "KONZ"}
PROVISIONAL = "PROVISIONAL"

_PRODUCT = re.compile(r"DP[1-4]\.\d{5}\.\d{3}")
_SITE = re.compile(r"[A-Z]{4}")
FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.h5"  # not a path
_NAME = re.compile(FILE_NAME)
_VISIT = re.compile(r"\d{4}_[A-Z0-9]{4}_\d{1,3}")
_CORNER = re.compile(r"_(\d{6})_(\d{7})_")
_YEARS = (2013, 2100)


def _or_none(value: Any) -> Any:
    return value or None


Hex = Annotated[Annotated[str, Field(pattern=r"^[0-9a-fA-F]{1,32}$")] | None, BeforeValidator(_or_none)]
Url = Annotated[str, Field(pattern=r"^https?://[\x21-\x7e]+$", max_length=8192)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=500)]


class _File(BaseModel):
    name: str
    size: Annotated[int, Field(ge=0, le=2**50)]
    url: Url
    md5: Hex = None
    crc32c: Hex = None
    crc32: Hex = None


class _Month(BaseModel):
    release: Line | None = None
    files: list[_File]


class _SiteMonths(BaseModel):
    siteCode: str  # noqa: N815  the API's names
    availableMonths: list[Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]] = []  # noqa: N815


class _Doi(BaseModel):
    url: Url | None = None


class _Release(BaseModel):
    release: Line
    productDoi: _Doi | None = None  # noqa: N815


class _Product(BaseModel):
    productName: Line = "reflectance"  # noqa: N815
    siteCodes: list[_SiteMonths] | None = None  # noqa: N815
    releases: list[_Release] | None = None


class _Site(BaseModel):
    siteLatitude: Annotated[float, Field(ge=-80, le=84)]  # noqa: N815
    siteLongitude: Annotated[float, Field(ge=-180, le=180)]  # noqa: N815


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes
    ----------
    name : of the file alone
    folder : the visit, such as 2022_SERC_6, or where nothing tells it the month
    url : for a time; `catalogue.renewed` gives another
    md5, crc32c, crc32 : checksums as hex, as far as NEON tells them
    """

    name: str
    folder: str
    size: int
    url: str
    month: str
    md5: str | None = None
    crc32c: str | None = None
    crc32: str | None = None

    @property
    def corner(self) -> tuple[float, float] | None:
        """Easting and northing of the tile's south-west corner; None of what is no tile."""
        found = _CORNER.search(self.name)
        return (float(found[1]), float(found[2])) if found else None


@dataclass(frozen=True)
class Offer:
    """What there is of a product, a site and a year.

    Attributes
    ----------
    site, flown_as : the site that was asked for, and the one under which its flights are kept
    releases : such as RELEASE-2026, or PROVISIONAL
    doi : of each release that has one
    aside : how many files are no reflectance
    """

    product: str
    title: str
    site: str
    flown_as: str
    year: int
    releases: tuple[str, ...]
    doi: dict[str, str]
    files: tuple[RemoteFile, ...]
    aside: int

    @property
    def citation(self) -> str:
        """How to cite the data."""
        states = ", ".join(
            "provisional data" if one == PROVISIONAL else f"{one}, {self.doi.get(one, '')}".rstrip(", ")
            for one in self.releases
        )
        return f"NEON (National Ecological Observatory Network). {self.title} ({self.product}), {states}"


def find(service: Service, site: str, year: int, product: str | None = None) -> Offer:
    """The reflectance files of a site and year; without a product, of the newest revision that has any.

    Raises
    ------
    ConfigError
        No such site, product or year, or no data of them. Says what there is.
    DownloadError
        The service cannot be reached, or refuses.
    """
    site = site.upper()
    if not _SITE.fullmatch(site):
        raise ConfigError(f"the site is {site!r}; it must be NEON's code of four letters, such as SERC")
    if product is not None and not _PRODUCT.fullmatch(product):
        raise ConfigError(f"the product is {product!r}; it must be a code such as {PRODUCTS[0]}")
    if not _YEARS[0] <= year <= _YEARS[1]:
        raise ConfigError(f"the year is {year}; NEON flies since {_YEARS[0]}")
    have: dict[str, list[str]] = {}
    for code in (product,) if product else PRODUCTS:
        found = _asked(service, f"products/{code}", _Product)
        months = {one.siteCode: one.availableMonths for one in found.siteCodes or ()}
        for name in (site, FLOWN_WITH.get(site, site)):
            if here := sorted(month for month in months.get(name, ()) if month.startswith(f"{year}-")):
                return _offer(service, code, found, (site, name), year, here)
        own = months.get(site) or months.get(FLOWN_WITH.get(site, site), [])
        have[code] = sorted({month[:4] for month in own})
    told = "; ".join(f"{code}: {', '.join(years) or 'no year'}" for code, years in have.items())
    raise ConfigError(f"NEON has no reflectance of {site} in {year} (of {told}); choose another year or product")


def renewed(service: Service, offer: Offer, file: RemoteFile) -> RemoteFile:
    """The same file with a fresh address: addresses are valid for a time.

    Raises
    ------
    DownloadError
        NEON does not list it any more, or as another one.
    """
    now, _, _ = _files(service, offer.product, offer.flown_as, file.month)
    same = [one for one in now if (one.name, one.folder, one.size) == (file.name, file.folder, file.size)]
    if not same:
        raise DownloadError(f"{file.name} is not what NEON listed before; give the same command again")
    return same[0]


def crs_of(service: Service, site: str) -> str:
    """The UTM zone of a site's tiles, "EPSG:n".

    Raises
    ------
    DownloadError
        The service cannot be reached, or does not know the site.
    """
    found = _asked(service, f"sites/{FLOWN_WITH.get(site, site)}", _Site)
    zone = min(math.floor((found.siteLongitude + 180) / 6) + 1, 60)
    return f"EPSG:{(32600 if found.siteLatitude >= 0 else 32700) + zone}"


def _offer(
    service: Service, product: str, found: _Product, names: tuple[str, str], year: int, months: Sequence[str]
) -> Offer:
    files: dict[tuple[str, str], RemoteFile] = {}
    releases, aside = set(), 0
    for month in months:
        here, release, others = _files(service, product, names[1], month)
        files |= {(file.folder, file.name): file for file in here}
        releases.add(release)
        aside += others
    doi = {one.release: one.productDoi.url for one in found.releases or () if one.productDoi and one.productDoi.url}
    ordered = tuple(files[key] for key in sorted(files))
    return Offer(product, found.productName, *names, year, tuple(sorted(releases)), doi, ordered, aside)


def _files(service: Service, product: str, site: str, month: str) -> tuple[list[RemoteFile], str, int]:
    """The reflectance files of a month, their release, and how many other files there are."""
    found = _asked(service, f"data/{product}/{site}/{month}", _Month)
    files = [
        RemoteFile(**one.model_dump(), folder=_folder(one.url, month), month=month)
        for one in found.files
        if _NAME.fullmatch(one.name)
    ]
    return files, found.release or PROVISIONAL, len(found.files) - len(files)


def _folder(url: str, month: str) -> str:
    """The visit in an address, or the month."""
    parts = url.partition("?")[0].split("/")[:-1]
    return next((part for part in reversed(parts) if _VISIT.fullmatch(part)), month)


def _asked(service: Service, path: str, kind: type[M]) -> M:
    """An answer of the API in its form."""
    try:
        answer = service.json(path)
    except RefusedError as error:
        if error.status in (400, 404):
            raise ConfigError(f"NEON knows no {path.replace('/', ' ')}; correct it") from None
        raise
    try:
        return kind.model_validate(answer.get("data") if isinstance(answer, dict) else None)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "data"
        raise DownloadError(
            f"{service.api}/{path} answers in another form than is known ({where}: {first['msg'][:100]})"
        ) from None
