"""Requests over HTTP: patient with a busy service, and careful to whom the token goes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any
from urllib.error import HTTPError
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from hsi_dask.download.token import WHERE, Token
from hsi_dask.errors import ConfigError, DownloadError

logger = logging.getLogger(__name__)

API = "https://data.neonscience.org/api/v0"
HEADER = "X-api-token"  # as urllib writes it
_TIMEOUT = 60.0  # seconds without a byte
_MOST_JSON = 64 * 2**20  # bytes of an answer; the list of a site's 200 tiles has 0.2 MB
_LONGEST = 300.0  # seconds to wait where the service says how long
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_REFUSED, _BUSY = (401, 403), (408, 425, 429, 500, 502, 503, 504)


class RefusedError(DownloadError):
    """An answer that no repetition changes; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Service:
    """NEON's data API, and the stores that it points to.

    Attributes
    ----------
    api : where it is
    attempts : of a request, before it counts as failed
    pause : seconds before the second attempt; each further one doubles it
    """

    token: Token | None
    api: str = API
    attempts: int = 6
    pause: float = 1.0
    wait: Callable[[float], None] = field(default=time.sleep, compare=False)

    def __post_init__(self) -> None:
        parts = _parts(self.api)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
            raise ConfigError(f"the service {self.api} is not reached by https, and the token would be readable")

    def json(self, path: str) -> Any:
        """What the API answers for a path below it.

        Raises
        ------
        DownloadError
            It cannot be reached, refuses, or answers no JSON.
        """
        url = f"{self.api.rstrip('/')}/{path}"
        attempt = 0
        while True:
            attempt += 1
            try:
                with self.open(url) as answer:
                    body = answer.read(_MOST_JSON)
                    if answer.length:  # which is what did not come
                        raise IncompleteRead(body)
                return json.loads(body)
            except (HTTPException, OSError) as error:  # broken off in the middle
                if attempt >= self.attempts:
                    raise DownloadError(f"{shown(url)} broke off {attempt} times: {reason(error)}") from error
                self.rest(attempt)
            except (ValueError, RecursionError):
                raise DownloadError(f"{shown(url)} answers no JSON; try again later") from None

    def open(self, url: str, start: int = 0) -> HTTPResponse:
        """The answer to a request, from a byte on; whoever asks reads and closes it.

        Raises
        ------
        RefusedError
            The status says that asking again is in vain.
        DownloadError
            It could not be reached in several attempts.
        """
        self.require_allowed(url)
        request = Request(url, headers={"User-Agent": "hsi-dask", "Accept": "*/*"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        if self.token is not None and self.is_api(url):
            request.add_header(HEADER, self.token.value)
        logger.debug("asking %s from byte %d on", shown(url), start)
        opener, attempt = build_opener(_Redirects(self)), 0
        while True:
            attempt += 1
            try:
                answer: HTTPResponse = opener.open(request, timeout=_TIMEOUT)
                return answer
            except HTTPError as error:
                error.close()
                if error.code not in _BUSY:
                    raise self._refusal(url, error.code) from None
                failure, told = f"it answers {error.code} ({error.reason})", _told(error.headers)
            except (HTTPException, OSError) as error:
                failure, told = reason(error), 0.0
            if attempt >= self.attempts:
                raise DownloadError(f"{shown(url)} cannot be had: {failure}, {attempt} times; try again later")
            logger.warning("%s: %s; attempt %d of %d follows", shown(url), failure, attempt + 1, self.attempts)
            self.rest(attempt, told)

    def rest(self, attempt: int, told: float = 0.0) -> None:
        """Wait after a failed attempt: longer after each, and as long as the service told."""
        self.wait(max(min(self.pause * 2 ** (attempt - 1), 60.0), told))

    def is_api(self, url: str) -> bool:
        """Whether a URL is of the API itself: there, and nowhere else, the token goes."""
        return _origin(url) == _origin(self.api)

    def require_allowed(self, url: str) -> None:
        """Refuse what is no address, not HTTP, or less private than the API; DownloadError."""
        if _parts(url).scheme not in {"https", _parts(self.api).scheme}:
            raise DownloadError(f"{shown(url)} is not https; this is no place to download from")

    def _refusal(self, url: str, status: int) -> RefusedError:
        if self.is_api(url) and status in _REFUSED:
            return RefusedError(f"NEON refuses the token ({status}); it may have expired: {WHERE}", status)
        return RefusedError(f"{shown(url)} answers {status}; look whether it is still there", status)


class _Redirects(HTTPRedirectHandler):
    """Redirects are followed; the token only goes where the API is."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Message) -> Any:
        try:
            _parts(_joined(req.full_url, headers.get("location") or headers.get("uri") or ""))
        except DownloadError:
            fp.close()
            raise
        return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type]

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        self.service.require_allowed(newurl)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if new is not None and not self.service.is_api(newurl):
            new.remove_header(HEADER)
        return new


def shown(url: str) -> str:
    """A URL without what is secret in it: a signature is a key."""
    parts = _parts(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _parts(url: str) -> SplitResult:
    """Of an address, or DownloadError; what follows ? is a key, and is not told."""
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port  # looked at only now
    except ValueError as error:
        raise DownloadError(f"{url.partition('?')[0]!r:.200} is no address ({error})") from None
    return parts


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise DownloadError(f"{shown(url)} leads to no address ({error})") from None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = _parts(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _told(headers: Any) -> float:
    """Seconds that a busy service asks to wait, within reason."""
    for name in ("Retry-After", "x-ratelimit-reset"):
        value = headers.get(name, "") if headers else ""
        if value.strip().isdigit():
            return min(float(value), _LONGEST)
    return 0.0


def reason(error: Exception) -> str:
    """Why a connection failed, in a few words."""
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner or type(error).__name__)
