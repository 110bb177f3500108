"""NEON's data API and the store that it points to, as two small HTTP servers on this machine.

The API answers in the form of the endpoints' documentation (data, products, sites). Files are a few kilobytes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from hsi_dask.download.service import Service
from hsi_dask.download.token import Token
from hsi_dask.io.checksums import crc32c

TOKEN = "eyJhbGciOi.a-secret.token"
SITES = {"SERC": (38.890131, -76.560014), "STEI": (45.50894, -89.58637), "WOOD": (47.1282, -99.241334)}
Answer = Callable[["_Handler"], None]


def name_of(corner: tuple[int, int], site: str = "SERC") -> str:
    return f"NEON_D02_{site}_DP3_{corner[0]}_{corner[1]}_bidirectional_reflectance.h5"


@dataclass
class Neon:
    """What the servers hold and saw."""

    files: dict[str, bytes] = field(default_factory=dict)  # by path in the store
    months: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=dict)  # product, site, month
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # server, path, headers
    answers: dict[str, list[Answer]] = field(default_factory=dict)  # by path: what comes first, one a request
    release: str = "RELEASE-2026"
    api: str = ""
    store: str = ""
    expired: set[str] = field(default_factory=set)  # signatures that the store refuses
    signature: int = 0

    def add(
        self, product: str, site: str, month: str, name: str, *, visit: str = "", size: int = 5000, **new: Any
    ) -> bytes:
        """A file; fields replace those that the API tells of it."""
        content = np.random.default_rng(len(self.files)).bytes(size)
        visit = visit or f"{month[:4]}_{site}_6"
        path = f"/neon-aop-products/{month[:4]}/FullSite/D02/{visit}/L3/Spectrometer/Reflectance/{name}"
        self.files[path] = content
        facts = {
            "name": name, "size": len(content), "md5": None, "crc32": None,
            "crc32c": f"{crc32c(content):08x}", "url": path, **new,
        }  # fmt: skip
        self.months.setdefault((product, site, month), []).append(facts)
        return content

    def seen(self, server: str) -> list[str]:
        return [path for where, path, _ in self.asked if where == server]

    def tokens(self, server: str) -> set[str | None]:
        return {headers.get("x-api-token") for where, _, headers in self.asked if where == server}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    neon: Neon
    server_name: str

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.neon.asked.append((self.server_name, self.path, {k.lower(): v for k, v in self.headers.items()}))
        if waiting := self.neon.answers.get(parts.path):
            waiting.pop(0)(self)
        elif self.server_name == "api":
            self.answer_api(parts.path.removeprefix("/api/v0/").split("/"))
        else:
            self.answer_store(parts.path, parse_qs(parts.query))

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, data: Any, status: int = 200) -> None:
        self.send(status, json.dumps({"data": data}).encode(), Content_Type="application/json")

    def answer_api(self, words: list[str]) -> None:
        neon = self.neon
        if words[0] == "sites":
            latitude, longitude = SITES.get(words[1], (None, None))
            self.send_json(
                {"siteCode": words[1], "siteLatitude": latitude, "siteLongitude": longitude, "deimsId": None}
            )
        elif words[0] == "products":
            known = sorted({key[1] for key in neon.months if key[0] == words[1]})
            months = {site: sorted(m for p, s, m in neon.months if (p, s) == (words[1], site)) for site in known}
            sites = [{"siteCode": s, "availableMonths": m, "availableDataUrls": []} for s, m in months.items()]
            self.send_json({
                "productCode": words[1], "productName": "Spectrometer orthorectified surface reflectance - mosaic",
                "siteCodes": sites,
                "releases": [{"release": "RELEASE-2026", "productDoi": {"url": "https://doi.org/10.0000/abcd"}}],
            })  # fmt: skip
        elif self.headers.get("X-API-TOKEN") != TOKEN:
            self.send(403, b"{}")
        elif (found := neon.months.get((words[1], words[2], words[3]))) is None:
            self.send(400, b"{}")
        else:
            neon.signature += 1
            signed = [
                {**one, "url": f"{neon.store}{one['url']}?X-Goog-Signature=s{neon.signature}"}
                if one["url"].startswith("/") else one
                for one in found
            ]  # fmt: skip
            self.send_json({"productCode": words[1], "siteCode": words[2], "month": words[3], "release": neon.release,
                            "packages": [], "files": signed})  # fmt: skip

    def answer_store(self, path: str, query: dict[str, list[str]]) -> None:
        if query.get("X-Goog-Signature", [""])[0] in self.neon.expired:
            self.send(403, b"<Error><Code>ExpiredToken</Code></Error>")
            return
        if (content := self.neon.files.get(path)) is None:
            self.send(404)
            return
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if start >= len(content) > 0:
            self.send(416)
        elif start:
            self.send(206, content[start:], Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send(200, content)


def cut_short(after: int) -> Answer:
    """The store breaks off after some bytes of what it should send."""

    def answer(handler: _Handler) -> None:
        content = handler.neon.files[urlsplit(handler.path).path]
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start : start + after])
        handler.close_connection = True

    return answer


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: handler.send(code, body, **headers)


def whole(content: bytes) -> Answer:
    """All of some content, whatever range was asked for."""
    return lambda handler: handler.send(200, content)


@pytest.fixture
def neon() -> Iterator[Neon]:
    neon, servers = Neon(), []
    for name in ("api", "store"):
        handler = type(f"{name}Handler", (_Handler,), {"neon": neon, "server_name": name})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
    neon.api, neon.store = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    neon.api += "/api/v0"
    yield neon
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def waits() -> list[float]:
    """The seconds that were waited between attempts."""
    return []


@pytest.fixture
def service(neon: Neon, waits: list[float]) -> Service:
    return Service(Token(TOKEN), neon.api, attempts=4, wait=waits.append)


def crc32(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
