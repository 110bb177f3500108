"""Mutated answers of NEON's service, and mutated listings beside earlier downloads: used, or one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hsi_dask.download.catalogue import PRODUCTS, Offer, crs_of, find, renewed
from hsi_dask.download.service import Service
from hsi_dask.download.site import LISTING, _write_listing, place_of, tiles_of

NAME = "NEON_D02_SERC_DP3_368000_4306000_bidirectional_reflectance.h5"
FILE = {
    "name": NAME, "size": 5000, "md5": "0" * 32, "crc32": None, "crc32c": "0123abcd",
    "url": f"https://storage.example.org/2022/FullSite/D02/2022_SERC_6/L3/{NAME}?X-Goog-Signature=s1",
}  # fmt: skip
PRODUCT = {
    "productCode": PRODUCTS[0], "productName": "Surface reflectance - mosaic",
    "siteCodes": [{"siteCode": "SERC", "availableMonths": ["2022-06", "2021-08"], "availableDataUrls": []}],
    "releases": [{"release": "RELEASE-2026", "productDoi": {"url": "https://doi.org/10.0000/abcd"}}],
}  # fmt: skip
MONTH = {"productCode": PRODUCTS[0], "siteCode": "SERC", "month": "2022-06", "release": "RELEASE-2026", "files": [FILE]}
SITE = {"siteCode": "SERC", "siteLatitude": 38.890131, "siteLongitude": -76.560014}
ANSWERS = {"product.json": PRODUCT, "month.json": MONTH, "site.json": SITE}
PATHS = {
    "product.json": f"/api/v0/products/{PRODUCTS[0]}", "month.json": f"/api/v0/data/{PRODUCTS[0]}/SERC/2022-06",
    "site.json": "/api/v0/sites/SERC",
}  # fmt: skip


def test_mutated_answers_of_the_service(neon: Any, service: Service, fuzz: Callable, tmp_path: Path) -> None:
    """Nothing leads out of the folder, whatever the service says."""

    def look(path: Path) -> None:
        for name, asked in PATHS.items():
            body = (path.parent / name).read_bytes()
            neon.answers[asked] = [lambda handler, body=body: handler.send(200, body)] * 4
        offer = find(service, "SERC", 2022, PRODUCTS[0])
        assert crs_of(service, "SERC").startswith("EPSG:32")
        for file in tiles_of(offer):
            place = place_of(offer, file, tmp_path)
            assert place.resolve().parent.parent == tmp_path / PRODUCTS[0]
            service.require_allowed(file.url)
            assert not service.is_api(file.url)
            renewed(service, offer, file)

    files = {name: json.dumps({"data": answer}).encode() for name, answer in ANSWERS.items()}
    forms = {first: {first: files[first], **files} for first in files}
    assert set(fuzz(forms, look, few=60)) == {"read", "refused"}


def test_mutated_listings_of_earlier_downloads(service: Service, fuzz: Callable) -> None:
    """What is beside the files decides nothing, and is written anew."""
    offer = Offer(PRODUCTS[0], "title", "SERC", "SERC", 2022, ("RELEASE-2026",), {}, (), 0)
    entry = {"size": 5000, "month": "2022-06", "crc32c": "0123abcd"}
    listing = {"product": PRODUCTS[0], "site": "SERC", "releases": [], "files": {NAME: entry, "b.h5": entry}}

    def look(path: Path) -> None:
        (path.parent / NAME).write_bytes(b"")
        _write_listing(path.parent, offer, [])
        written = json.loads(path.read_bytes())
        assert set(written["files"]) <= {NAME}

    assert set(fuzz({"listing": {LISTING: json.dumps(listing).encode()}}, look, few=100)) == {"read"}
