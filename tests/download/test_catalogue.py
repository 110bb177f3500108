"""What NEON offers, from a small server that answers in the documented form."""

from __future__ import annotations

import json

import pytest

from hsi_dask.download.catalogue import crs_of, find, renewed
from hsi_dask.download.service import Service
from hsi_dask.download.site import tiles_of
from hsi_dask.errors import ConfigError, DownloadError
from hsi_dask.io.regions import region_of_bounds

from .conftest import TOKEN, name_of, status

NEW, OLD = "DP3.30006.002", "DP3.30006.001"
UTM = "EPSG:32618"


def test_the_newest_revision_that_has_the_year_is_found(neon, service):
    neon.add(NEW, "SERC", "2022-06", name_of((368000, 4306000)))
    neon.add(OLD, "SERC", "2019-05", name_of((368000, 4306000)))
    neon.add(OLD, "SERC", "2022-06", name_of((368000, 4306000)))
    new, old = find(service, "serc", 2022), find(service, "SERC", 2019)
    assert (new.product, old.product, find(service, "SERC", 2022, OLD).product) == (NEW, OLD, OLD)
    (file,) = new.files
    assert (file.name, file.folder, file.month) == (name_of((368000, 4306000)), "2022_SERC_6", "2022-06")
    assert file.corner == (368000, 4306000)
    assert new.citation == (
        "NEON (National Ecological Observatory Network). Spectrometer orthorectified surface reflectance - mosaic "
        "(DP3.30006.002), RELEASE-2026, https://doi.org/10.0000/abcd"
    )


def test_provisional_data_are_cited_as_such(neon, service):
    neon.release = "PROVISIONAL"
    neon.add(NEW, "SERC", "2022-06", name_of((368000, 4306000)))
    assert find(service, "SERC", 2022).citation.endswith("(DP3.30006.002), provisional data")


@pytest.mark.parametrize(("site", "flown"), [("DCFS", "WOOD"), ("CHEQ", "STEI"), ("TREE", "STEI")])
def test_sites_that_are_flown_with_another_are_found_there(neon, service, site, flown):
    neon.add(NEW, flown, "2022-06", name_of((368000, 4306000), flown))
    offer = find(service, site, 2022)
    assert (offer.site, offer.flown_as, len(offer.files)) == (site, flown, 1)
    neon.add(NEW, site, "2022-07", name_of((369000, 4306000), site))
    assert find(service, site, 2022).flown_as == site, "its own flights, once it has any"


def test_months_and_visits_of_a_year_stay_apart(neon, service):
    for month, visit in (("2022-06", "2022_SERC_6"), ("2022-08", "2022_SERC_7")):
        neon.add(NEW, "SERC", month, name_of((368000, 4306000)), visit=visit)
    neon.add(NEW, "SERC", "2022-09", "NEON_D02_SERC_DP3_368000_4306000_reflectance.h5", url="/elsewhere/a.h5")
    assert [file.folder for file in find(service, "SERC", 2022).files] == ["2022-09", "2022_SERC_6", "2022_SERC_7"]


def test_other_files_are_left_aside_and_names_are_no_paths(neon, service):
    neon.add(NEW, "SERC", "2022-06", name_of((368000, 4306000)))
    bad = ("../escape.h5", "/etc/escape.h5", "a/b.h5", "..h5", ".hidden.h5", "a\nb.h5", "a\\b.h5", "x.h5\0", "")
    for name in ("readme.txt", "metadata.kml", *bad):
        neon.add(NEW, "SERC", "2022-06", name, url="/some/file.h5")
    offer = find(service, "SERC", 2022)
    assert [file.name for file in offer.files] == [name_of((368000, 4306000))]
    assert offer.aside == 2 + len(bad)


def test_a_folder_is_a_visit_or_a_month_whatever_the_address_says(neon, service):
    for number, url in enumerate(("/a/../../2022_SERC_6%2f..%2f/x.h5", "/2022_SERC_66666/x.h5", "/..;/x.h5")):
        neon.add(NEW, "SERC", "2022-06", name_of((368000 + 1000 * number, 4306000)), url=url)
    assert {file.folder for file in find(service, "SERC", 2022).files} == {"2022-06"}


def test_tiles_are_chosen_by_name_and_by_area(neon, service):
    corners = [(368000, 4306000), (369000, 4306000), (370000, 4307000)]
    for corner in corners:
        neon.add(NEW, "SERC", "2022-06", name_of(corner))
    offer = find(service, "SERC", 2022)
    assert tiles_of(offer) == list(offer.files)
    assert [file.corner for file in tiles_of(offer, ["369000_4306000"])] == [corners[1]]
    area = region_of_bounds((368999.0, 4306500.0, 369001.0, 4306510.0), UTM)
    assert [file.corner for file in tiles_of(offer, region=area)] == corners[:2]
    with pytest.raises(ConfigError, match="there is no tile 1_2; there are 3, such as 368000_4306000"):
        tiles_of(offer, ["1_2"])
    with pytest.raises(
        ConfigError, match=r"touches none of the 3 tiles: it spans 1 to 2 E.* the tiles 368000 to 371000"
    ):
        tiles_of(offer, region=region_of_bounds((1, 1, 2, 2), UTM))


def test_flight_lines_cannot_be_chosen_by_place(neon, service):
    neon.add("DP1.30006.002", "SERC", "2022-06", "NEON_D02_SERC_DP1_L001-1_20220623_directional_reflectance.h5")
    offer = find(service, "SERC", 2022, "DP1.30006.002")
    assert len(tiles_of(offer)) == 1
    with pytest.raises(ConfigError, match="flight lines, whose names tell no place"):
        tiles_of(offer, ["368000_4306000"])


def test_the_zone_of_the_tiles_is_that_of_the_site(neon, service):
    assert [crs_of(service, site) for site in ("SERC", "STEI", "TREE", "DCFS")] == [
        UTM,
        *2 * ["EPSG:32616"],
        "EPSG:32614",
    ]


def test_what_is_not_there_is_said_with_what_is(neon, service):
    neon.add(OLD, "SERC", "2019-05", name_of((368000, 4306000)))
    with pytest.raises(
        ConfigError, match=r"no reflectance of SERC in 2022 \(of DP3.30006.002: no year; DP3.30006.001: 2019\)"
    ):
        find(service, "SERC", 2022)
    for site, year, product, words in (
        ("SER", 2022, None, "code of four letters"), ("../x", 2022, None, "code of four letters"),
        ("SERC", 22, None, "NEON flies since 2013"), ("SERC", 2022, "reflectance", "must be a code such as"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            find(service, site, year, product)


def test_a_token_that_is_refused_is_said_without_telling_it(neon):
    neon.add(NEW, "SERC", "2022-06", name_of((368000, 4306000)))
    from hsi_dask.download.token import Token

    with pytest.raises(DownloadError, match=r"refuses the token \(403\); it may have expired: make one") as refused:
        find(Service(Token("another-secret"), neon.api), "SERC", 2022)
    assert "another-secret" not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[1]", b'{"data": {"files": 3}}', b'{"data": {"files": [{"name": 1}]}}', b"{", b"[" * 100_000,
     json.dumps({"data": {"files": [{"name": "a.h5", "size": -1, "url": "https://x/"}]}}).encode(),
     json.dumps({"data": {"files": [{"name": "a.h5", "size": 1, "url": "file:///etc/passwd"}]}}).encode(),
     json.dumps({"data": {"files": [{"name": "a.h5", "size": 1, "url": "https://x/\n"}]}}).encode(),
     json.dumps({"data": {"files": [{"name": "a.h5", "size": 1, "url": "https://x/", "md5": "zz"}]}}).encode()],
)  # fmt: skip
def test_an_answer_of_another_form_is_one_sentence(neon, service, body):
    neon.add(NEW, "SERC", "2022-06", name_of((368000, 4306000)))
    neon.answers[f"/api/v0/data/{NEW}/SERC/2022-06"] = [status(200, body)]
    with pytest.raises(DownloadError, match=r"another form than is known|answers no JSON"):
        find(service, "SERC", 2022)


def test_a_fresh_address_is_of_the_same_file_or_none(neon, service):
    neon.add(NEW, "SERC", "2022-06", name_of((368000, 4306000)))
    offer = find(service, "SERC", 2022)
    fresh = renewed(service, offer, offer.files[0])
    assert fresh.url != offer.files[0].url
    assert fresh.name == offer.files[0].name
    neon.months[NEW, "SERC", "2022-06"][0]["size"] += 1
    with pytest.raises(DownloadError, match="is not what NEON listed before"):
        renewed(service, offer, offer.files[0])


def test_the_token_goes_to_the_api(neon, service):
    neon.add(NEW, "SERC", "2022-06", name_of((368000, 4306000)))
    find(service, "SERC", 2022)
    assert neon.tokens("api") == {TOKEN}
