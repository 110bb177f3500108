"""Files against the bytes that a small store holds, whatever breaks on the way."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from hsi_dask.download.catalogue import RemoteFile, find, renewed
from hsi_dask.download.site import download, place_of, tiles_of
from hsi_dask.download.transfer import fetch, lacking
from hsi_dask.errors import DownloadError

from .conftest import Neon, crc32, cut_short, md5, name_of, status, whole

PRODUCT, NAME = "DP3.30006.002", name_of((368000, 4306000))


@pytest.fixture
def content(neon: Neon) -> bytes:
    return neon.add(PRODUCT, "SERC", "2022-06", NAME, size=100_000)


@pytest.fixture
def file(content, service) -> RemoteFile:
    return find(service, "SERC", 2022).files[0]


@pytest.fixture
def path(neon) -> str:
    """Of the file in the store."""
    return next(iter(neon.files))


def ranges(neon: Neon) -> list[str | None]:
    return [headers.get("range") for where, _, headers in neon.asked if where == "store"]


def test_a_file_arrives_whole_under_its_name_and_is_not_fetched_twice(service, neon, file, content, tmp_path):
    seen: list[int] = []
    assert fetch(service, file, tmp_path / NAME, arrived=seen.append) == "downloaded"
    assert (tmp_path / NAME).read_bytes() == content
    assert sum(seen) == len(content)
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
    assert fetch(service, file, tmp_path / NAME) == "there"
    assert len(neon.seen("store")) == 1


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(service, neon, file, content, path, tmp_path, waits):
    neon.answers[path] = [cut_short(30_000), cut_short(0), cut_short(20_000), status(503)]
    fetch(service, file, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == content
    assert ranges(neon) == [None, "bytes=30000-", "bytes=30000-", "bytes=50000-", "bytes=50000-"]
    assert waits, "it was patient"


def test_a_download_that_was_killed_goes_on_where_it_stopped(service, neon, file, content, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(content[:40_000])
    assert lacking(file, tmp_path / NAME) == 60_000
    fetch(service, file, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == content
    assert ranges(neon) == ["bytes=40000-"]
    assert lacking(file, tmp_path / NAME) == 0


def test_a_store_that_knows_no_ranges_sends_all_of_it_again(service, neon, file, content, path, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(content[:40_000])
    neon.answers[path] = [whole(content)]
    fetch(service, file, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == content


def test_a_transfer_that_never_brings_anything_is_one_sentence_and_keeps_what_is_there(
    service, neon, file, content, path, tmp_path
):
    neon.answers[path] = [cut_short(30_000), *[cut_short(0)] * 20]
    with pytest.raises(
        DownloadError, match=r"broke off 4 times \(it ended early\); give the same command again"
    ) as error:
        fetch(service, file, tmp_path / NAME)
    assert "X-Goog-Signature" not in str(error.value)
    assert (tmp_path / f"{NAME}.part").read_bytes() == content[:30_000]
    assert not (tmp_path / NAME).exists()


def test_a_wrong_checksum_is_downloaded_anew_once(service, neon, file, content, path, tmp_path):
    spoiled = bytes([content[0] ^ 1]) + content[1:]
    neon.answers[path] = [whole(spoiled)]
    fetch(service, file, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == content
    (tmp_path / NAME).unlink()
    neon.answers[path] = [whole(spoiled), whole(spoiled)]
    with pytest.raises(DownloadError, match=r"arrives damaged, 2 times: its crc32c is [0-9a-f]{8}, not"):
        fetch(service, file, tmp_path / NAME)
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_attempt_left_damaged_is_found_by_the_checksum(service, file, content, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(b"\0" * 40_000)
    fetch(service, file, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == content
    (tmp_path / NAME).write_bytes(content[:-1] + b"x")
    assert fetch(service, file, tmp_path / NAME) == "downloaded"
    assert (tmp_path / NAME).read_bytes() == content
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}.part").write_bytes(content + b"more")
    fetch(service, file, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == content


@pytest.mark.parametrize(("kind", "checksum"), [("md5", md5), ("crc32", crc32)])
def test_other_checksums_are_verified_where_they_are_all_there_is(neon, service, tmp_path, kind, checksum):
    content = neon.add(PRODUCT, "SERC", "2022-06", NAME, crc32c="")
    neon.months[PRODUCT, "SERC", "2022-06"][0][kind] = checksum(content).upper()
    fetch(service, find(service, "SERC", 2022).files[0], tmp_path / NAME)
    neon.months[PRODUCT, "SERC", "2022-06"][0][kind] = checksum(b"other")
    with pytest.raises(DownloadError, match=f"its {kind} is"):
        fetch(service, find(service, "SERC", 2022).files[0], tmp_path / "b")


def test_a_store_that_sends_too_much_is_refused(service, neon, file, content, path, tmp_path):
    neon.answers[path] = [whole(content + b"more")]
    with pytest.raises(DownloadError, match="sends more than the 100000 bytes"):
        fetch(service, file, tmp_path / NAME)


def test_an_address_that_has_expired_is_asked_for_anew(service, neon, content, tmp_path):
    offer = find(service, "SERC", 2022)
    neon.expired = {"s1"}
    fetch(service, offer.files[0], tmp_path / NAME, renew=lambda old: renewed(service, offer, old))
    assert (tmp_path / NAME).read_bytes() == content
    neon.expired = {f"s{number}" for number in range(9)}
    with pytest.raises(DownloadError, match="answers 403"):
        fetch(service, offer.files[0], tmp_path / "b", renew=lambda old: renewed(service, offer, old))


def test_two_downloads_of_a_file_do_not_mix(service, file, tmp_path):
    with (tmp_path / f"{NAME}.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process downloads"):
            fetch(service, file, tmp_path / NAME)


def test_a_link_in_place_of_the_unfinished_file_is_not_followed(service, file, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / f"{NAME}.part").symlink_to(tmp_path / "precious")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(service, file, tmp_path / NAME)
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("url", ["/gone.h5", "http://127.0.0.1:99999999/x.h5", "http://[::1/x.h5"])
def test_a_file_that_fails_does_not_stop_the_others(neon, service, tmp_path, url):
    neon.add(PRODUCT, "SERC", "2022-06", name_of((367000, 4306000)), url=url)
    content = neon.add(PRODUCT, "SERC", "2022-06", NAME)
    offer, shares = find(service, "SERC", 2022), list[float]()
    done = download(service, offer, tiles_of(offer), tmp_path, shares.append)
    assert (done.downloaded, done.there, list(done.failed)) == (1, 0, [name_of((367000, 4306000))])
    assert place_of(offer, offer.files[-1], tmp_path).read_bytes() == content
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert Path(tmp_path, PRODUCT, "2022_SERC_6", NAME).is_file()
