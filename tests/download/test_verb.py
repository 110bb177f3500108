"""The verb `download` as people give it, in processes of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from .conftest import TOKEN, Neon, name_of

PRODUCT = "DP3.30006.002"


@pytest.fixture
def full(neon: Neon) -> Neon:
    for corner in ((368000, 4306000), (369000, 4306000), (368000, 4307000)):
        neon.add(PRODUCT, "SERC", "2022-06", name_of(corner))
    neon.add(PRODUCT, "SERC", "2022-06", "readme.txt")
    return neon


def call(neon: Neon, folder: Path, *words: object, token: str | None = TOKEN, **options: object):
    own = {name: value for name, value in os.environ.items() if name != "NEON_TOKEN"}
    environment = own | {"NEON_API_URL": neon.api} | ({"NEON_TOKEN": token} if token else {})
    command = [sys.executable, "-m", "hsi_dask", "download", *map(str, words)]
    plain = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": False} | options
    return subprocess.run(command, cwd=folder, env=environment, **plain)


def test_a_site_is_downloaded_and_the_command_that_runs_it_printed(full, tmp_path):
    process = call(full, tmp_path, "SERC", 2022, "--to", "data", "--yes")
    assert process.returncode == 0, process.stderr
    folder = tmp_path / "data" / PRODUCT / "2022_SERC_6"
    assert sorted(path.name for path in folder.glob("*.h5")) == sorted(
        name_of(corner) for corner in ((368000, 4306000), (369000, 4306000), (368000, 4307000))
    )
    for path in folder.glob("*.h5"):
        assert path.read_bytes() == full.files[next(one for one in full.files if one.endswith(path.name))]
    assert re.search(r"^3 files downloaded in \d+ s, 0 there before$", process.stdout, re.MULTILINE)
    assert f"run   hsi-dask run data/{PRODUCT}/2022_SERC_6 --out SERC-2022\n" in process.stdout
    assert "RELEASE-2026, https://doi.org/10.0000/abcd" in process.stdout
    assert "files    3, 15.0 kB" in process.stdout
    assert "downloading" in process.stderr
    again = call(full, tmp_path, "SERC", 2022, "--to", "data")
    assert again.returncode == 0
    assert re.search(r"^0 files downloaded in \d+ s, 3 there before$", again.stdout, re.MULTILINE)


def test_the_listing_holds_release_and_checksums_but_no_address_and_no_token(full, tmp_path):
    process = call(full, tmp_path, "SERC", 2022, "--yes")
    text = (tmp_path / "neon" / PRODUCT / "2022_SERC_6" / "neon-download.json").read_text()
    listing = json.loads(text)
    assert (listing["releases"], listing["product"], len(listing["files"])) == (["RELEASE-2026"], PRODUCT, 3)
    assert all(len(facts["crc32c"]) == 8 for facts in listing["files"].values())
    everything = text + process.stdout + process.stderr
    assert TOKEN not in everything
    assert "Signature" not in everything


def test_tiles_and_areas_are_chosen_and_come_back_in_the_command(full, tmp_path):
    process = call(full, tmp_path, "SERC", 2022, "--yes", "--bounds", 369100, 4306100, 369200, 4306200)
    assert "files    1 of 3, 5.0 kB" in process.stdout
    assert "--out SERC-2022 --bounds 369100 4306100 369200 4306200\n" in process.stdout
    ring = [[-76.5, 38.89], [-76.49, 38.89], [-76.49, 38.9], [-76.5, 38.89]]
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    process = call(full, tmp_path, "SERC", 2022, "--yes", "--region", "area.geojson")
    assert "touches none of the 3 tiles: it spans 369" in process.stderr or process.returncode == 0
    process = call(full, tmp_path, "SERC", 2022, "--yes", "--tiles", "368000_4306000,368000_4307000", "--dry-run")
    assert "files    2 of 3" in process.stdout
    assert len(list(tmp_path.rglob("*.h5"))) <= 3
    process = call(full, tmp_path, "SERC", 2022, "--bounds", 5, 6, 1, 2, "--dry-run")
    assert process.returncode == 2
    assert "west below east" in process.stderr


def test_who_is_not_there_to_be_asked_has_to_say_yes(full, tmp_path):
    process = call(full, tmp_path, "SERC", 2022)
    assert process.returncode == 2
    assert process.stderr == "error: 15.0 kB are to be downloaded, and nobody is here to be asked; give --yes\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "files"), [("y\n", 3), ("\n", 0), ("no\n", 0)])
def test_who_is_there_is_asked_before_anything_starts(full, tmp_path, answer, files):
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        process = call(full, tmp_path, "SERC", 2022, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Download 15.0 kB? [y/N]" in process.stderr
    assert process.returncode == (0 if files else 2)
    assert len(list(tmp_path.rglob("*.h5"))) == files


def test_without_a_token_nothing_is_asked_and_the_way_out_is_said(full, tmp_path):
    process = call(full, tmp_path, "SERC", 2022, "--yes", token=None)
    assert process.returncode == 2
    assert "make one in your account at https://data.neonscience.org" in process.stderr
    assert full.asked == []


def test_a_token_comes_from_a_private_file(full, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    process = call(full, tmp_path, "SERC", 2022, "--dry-run", "--token-file", "token", token=None)
    assert process.returncode == 0, process.stderr
    assert full.tokens("api") == {TOKEN}
    (tmp_path / "token").chmod(0o644)
    process = call(full, tmp_path, "SERC", 2022, "--dry-run", "--token-file", "token", token=None)
    assert process.returncode == 2
    assert TOKEN not in process.stderr


def test_debugging_tells_no_token(full, tmp_path):
    process = call(full, tmp_path, "SERC", 2022, "--yes", "--debug")
    assert "asking" in process.stderr
    assert TOKEN not in process.stdout + process.stderr
    assert "Signature" not in process.stdout + process.stderr
    process = call(full, tmp_path, "SERC", 2022, "--yes", "--debug", token="wrong-secret")
    assert process.returncode == 2
    assert "wrong-secret" not in process.stdout + process.stderr


def test_a_file_that_fails_is_named_and_the_exit_code_tells(full, tmp_path):
    del full.files[next(path for path in full.files if "369000" in path)]
    process = call(full, tmp_path, "SERC", 2022, "--yes")
    assert process.returncode == 1
    assert "2 files downloaded in" in process.stdout
    assert f"failed  {name_of((369000, 4306000))}: http://127.0.0.1/neon-aop-products" in process.stdout


def test_a_download_that_is_killed_goes_on(full, tmp_path):
    path = next(path for path in full.files if "369000" in path)

    def stall(handler):
        content = full.files[path]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:2000])
        handler.wfile.flush()
        killed.wait(20)
        handler.close_connection = True

    killed = threading.Event()
    full.answers[path] = [stall]
    environment = os.environ | {"NEON_API_URL": full.api, "NEON_TOKEN": TOKEN}
    command = [sys.executable, "-m", "hsi_dask", "download", "SERC", "2022", "--yes"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    part = tmp_path / "neon" / PRODUCT / "2022_SERC_6" / f"{name_of((369000, 4306000))}.part"
    for _ in range(400):
        if part.is_file() and part.stat().st_size == 2000:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    killed.set()
    assert part.stat().st_size == 2000
    again = call(full, tmp_path, "SERC", 2022, "--yes")
    assert "2 files downloaded in" in again.stdout or "1 file downloaded in" in again.stdout
    assert part.with_suffix("").read_bytes() == full.files[path]
    assert any(headers.get("range") == "bytes=2000-" for _, _, headers in full.asked)
