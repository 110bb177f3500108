"""Requests against servers that are busy, broken, redirect or lie."""

from __future__ import annotations

import logging

import pytest

from hsi_dask.download.service import RefusedError, Service, shown
from hsi_dask.download.token import Token
from hsi_dask.errors import ConfigError, DownloadError

from .conftest import TOKEN, status

PATH = "/api/v0/sites/SERC"


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_busy_service_is_asked_again_after_longer_and_longer_waits(neon, service, waits, code):
    neon.answers[PATH] = [status(code), status(code), status(code)]
    assert service.json("sites/SERC")["data"]["siteCode"] == "SERC"
    assert waits == [1.0, 2.0, 4.0]


def test_a_service_that_says_how_long_is_waited_for_within_reason(neon, service, waits):
    neon.answers[PATH] = [
        status(429, Retry_After="7"), status(429, x_ratelimit_reset="99999"), status(503, Retry_After="soon"),
    ]  # fmt: skip
    service.json("sites/SERC")
    assert waits == [7.0, 300.0, 4.0]


def test_a_service_that_stays_busy_is_one_sentence(neon, service, waits):
    neon.answers[PATH] = [status(503)] * 9
    with pytest.raises(
        DownloadError, match=r"cannot be had: it answers 503 \(Service Unavailable\), 4 times; try again"
    ):
        service.json("sites/SERC")
    assert len(waits) == 3


def test_a_service_that_is_not_there_is_one_sentence(waits):
    service = Service(None, "http://127.0.0.1:9/api", attempts=2, wait=waits.append)
    with pytest.raises(
        DownloadError, match=r"http://127.0.0.1/api/sites/SERC cannot be had: Connection refused, 2 times"
    ):
        service.json("sites/SERC")


@pytest.mark.parametrize("code", [400, 404, 410])
def test_a_refusal_is_not_repeated(neon, service, waits, code):
    neon.answers[PATH] = [status(code)]
    with pytest.raises(RefusedError, match=f"answers {code}") as refused:
        service.json("sites/SERC")
    assert (refused.value.status, waits) == (code, [])


def test_an_answer_that_breaks_off_is_asked_for_again(neon, service, waits):
    def broken(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"data"')
        handler.close_connection = True

    neon.answers[PATH] = [broken]
    assert service.json("sites/SERC")["data"]["siteCode"] == "SERC"
    assert waits == [1.0]


def test_the_token_follows_a_redirect_within_the_api_and_to_no_other_host(neon, service):
    neon.files["/file"] = b"content"
    neon.answers[PATH] = [status(302, Location=f"{neon.api}/sites/STEI")]
    assert service.json("sites/SERC")["data"]["siteCode"] == "STEI"
    assert neon.tokens("api") == {TOKEN}
    neon.answers[PATH] = [status(302, Location=f"{neon.store}/file")]
    with service.open(f"{neon.api}/sites/SERC") as answer:
        assert answer.read() == b"content"
    assert neon.tokens("store") == {None}


def test_the_token_does_not_go_to_a_store(neon, service):
    neon.files["/file"] = b"content"
    with service.open(f"{neon.store}/file", 3) as answer:
        assert (answer.status, answer.read()) == (206, b"tent")
    assert neon.tokens("store") == {None}


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_only_http_is_asked_for_and_followed(neon, service, target):
    with pytest.raises(DownloadError, match="is not https"):
        service.open(target)
    neon.answers[PATH] = [status(302, Location=target)]
    with pytest.raises(DownloadError, match=r"is not https|answers 302"):
        service.json("sites/SERC")


@pytest.mark.parametrize("host", ["127.0.0.1:99999999", "127.0.0.1:port", "[::1"])
def test_what_is_no_address_is_one_sentence_without_its_key(neon, service, host):
    target = f"http://{host}/x?X-Goog-Signature=secret"
    neon.answers[PATH] = [status(302, Location=target)]
    for ask in (lambda: service.open(target), lambda: service.json("sites/SERC")):
        with pytest.raises(DownloadError, match=r"is no address|leads to no address") as refused:
            ask()
        assert "secret" not in str(refused.value)


def test_a_service_without_https_is_refused_unless_it_is_on_this_machine():
    with pytest.raises(ConfigError, match="not reached by https"):
        Service(Token(TOKEN), "http://data.example.org/api")
    with pytest.raises(DownloadError, match="is not https"):
        Service(Token(TOKEN)).open("http://storage.example.org/file")


def test_no_log_line_and_no_repr_tells_a_token_or_a_signature(neon, service, caplog):
    neon.files["/file"] = b"content"
    neon.answers["/file"] = [status(503)]
    with caplog.at_level(logging.DEBUG):
        service.open(f"{neon.store}/file?X-Goog-Signature=very-secret").close()
        service.json("sites/SERC")
    assert "/file" in caplog.text
    assert "very-secret" not in caplog.text
    assert TOKEN not in caplog.text + repr(service)
    assert shown("https://user:key@host/a?b=c") == "https://host/a"
