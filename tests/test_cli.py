"""The command line as its users meet it: real processes for exit codes, streams, signals and the terminal."""

import csv
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask import cli, progress
from hsi_dask.pace import Pace
from hsi_dask.synthetic import MATERIALS, material_spectra, simulate_scene, simulate_site, write_neon_tile

HSI_DASK = (sys.executable, "-m", "hsi_dask")


def call(*words, **options):
    """A finished process of the command line."""
    return subprocess.run(
        [*HSI_DASK, *map(str, words)], capture_output=True, text=True, timeout=180, check=False, **options
    )


def on_terminal(words, columns=80):
    """Exit code, stdout, and what a terminal of so many columns got as stderr."""
    main, worker = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "30"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=worker, env=environment) as process:
        os.close(worker)
        shown = b""
        while True:
            try:
                part = os.read(main, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        out = process.stdout.read()
    os.close(main)
    return process.returncode, out, shown


def inside(capsys, *words):
    """(exit code, stdout, stderr) of a command line carried out in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    streams = capsys.readouterr()
    return ended.value.code, streams.out, streams.err


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return simulate_site(folder, tiles=(1, 2), size=50, no_data=0)


@pytest.fixture(scope="module")
def finished(site, tmp_path_factory):
    """A run directory, and the process that made it."""
    run_dir = tmp_path_factory.mktemp("out") / "run"
    return run_dir, call("run", site.folder, "--out", run_dir, "--count", 3)


# ---------------------------------------------------------------------------------------------------- run


def test_a_run_tells_its_results_on_stdout_and_its_progress_on_stderr(finished):
    run_dir, process = finished
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("2 of 2 tiles done, in ")
    assert str(run_dir / "results.zarr") in process.stdout
    assert re.search(
        r"tile 368000_4306000 done in .* s; 1 of 2 tiles, .* tiles a minute, 0:00:\d\d left", process.stderr
    )
    assert "\x1b" not in process.stdout + process.stderr


def test_what_is_not_said_is_not_compared_when_a_run_is_gone_on_with(site, finished, capsys):
    run_dir, _ = finished
    code, out, _ = inside(capsys, "run", site.folder, "--out", run_dir)
    assert (code, out.splitlines()[0].partition(", in ")[0]) == (0, "2 of 2 tiles done (2 before)")
    code, _, err = inside(capsys, "run", site.folder, "--out", run_dir, "--count", 4)
    assert code == 2
    assert "endmembers.count: 4, not 3" in err


def test_a_run_ends_with_its_report_and_the_verb_draws_it_again(finished, capsys):
    run_dir, process = finished
    page = run_dir / "report.html"
    assert f"report   {page}" in process.stdout
    page.unlink()
    code, out, err = inside(capsys, "report", run_dir)
    assert (code, out) == (0, f"{page}\n")
    assert re.fullmatch(r"\d\d:\d\d:\d\d drawing the report\n", err)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    code, out, err = inside(capsys, "report", run_dir.parent)
    assert (code, out) == (2, "")
    assert "is not a run directory" in err


def test_a_run_is_done_also_where_its_report_cannot_be_written(site, tmp_path, capsys):
    words = ("run", site.paths[0], "--out", tmp_path / "run", "--count", "3")
    assert inside(capsys, *words)[0] == 0
    (tmp_path / "run" / "report.html").unlink()
    (tmp_path / "run" / "report.html").mkdir()
    code, out, err = inside(capsys, *words)
    assert code == 0
    assert out.startswith("1 of 1 tile done")
    assert "report  " not in out
    assert len(re.findall(r"WARNING the report was not drawn: .*report\.html cannot be written", err)) == 1
    assert inside(capsys, "report", tmp_path / "run")[0] == 2


def test_one_tile_and_one_endmember_are_told_in_the_singular(site, tmp_path, capsys):
    code, out, err = inside(
        capsys, "run", site.paths[0], "--out", tmp_path / "run", "--count", 1, "--method", "sam", "--no-report"
    )
    assert code == 0
    assert out.startswith("1 of 1 tile done")
    assert re.search(r"finding 1 endmember among \d+ pixels of 1 of 1 tile,", err)
    assert not re.search(r"\b1 (tiles|endmembers)\b", out + err)


def test_the_command_shown_at_the_end_opens_the_results(finished):
    command = re.search(r'python -c "(.*)"', finished[1].stdout)[1]
    shown = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert "abundance" in shown.stdout


def test_a_finished_run_repeated_by_out_alone_computes_nothing(finished, capsys):
    code, out, _ = inside(capsys, "run", "--out", finished[0])
    assert code == 0
    assert out.startswith("2 of 2 tiles done (2 before), in ")


def test_other_settings_on_a_run_are_refused_by_name(finished, site, capsys):
    code, out, err = inside(capsys, "run", site.folder, "--out", finished[0], "--count", 4)
    assert (code, out) == (2, "")
    assert "endmembers.count: 4, not 3" in err


def test_settings_come_from_the_file_and_count_from_the_command_line(site, tmp_path, capsys):
    settings = tmp_path / "run.yaml"
    settings.write_text(f"tiles: ['{site.paths[0]}']\nendmembers: {{count: 5}}\nmethods: [sam]\n")
    code, out, _ = inside(capsys, "run", "--config", settings, "--count", "2", "--out", tmp_path / "run")
    assert code == 0
    assert out.startswith("1 of 1 tile done")
    results = hsi.open_results(tmp_path / "run")
    assert results.sizes["endmember"] == 2
    assert set(results) == {"sam_angle", "sam_class", "quality"}


def test_a_dry_run_shows_the_plan_and_writes_nothing(site, tmp_path, capsys):
    code, out, _ = inside(capsys, "run", site.folder, "--out", tmp_path / "run", "--dry-run")
    assert code == 0
    keys = [line.split("  ")[0].strip() for line in out.splitlines()]
    shares = ["to read", "to write", "memory"]
    assert keys == ["tiles", "data", "blocks", "mosaic", "bands", "maps", "spectra", "masks", *shares]
    assert "bands     362 of 426 wavelengths, 382 to 2460 nm" in out
    more = inside(capsys, "run", site.folder, "--out", tmp_path / "run", "--dry-run", "--windows", "350-400")[1]
    assert "bands     358 of 426 wavelengths, 402 to 2460 nm" in more
    assert not (tmp_path / "run").exists()


def test_given_spectra_and_masks_show_in_the_plan_and_the_summary(site, finished, tmp_path, capsys):
    settings = tmp_path / "run.yaml"
    settings.write_text("masks: {water: 0.0, cloud: 10}\n")
    given = ("run", site.folder, "--config", settings, "--endmembers", finished[0], "--out", tmp_path / "run")
    code, out, _ = inside(capsys, *given, "--dry-run")
    assert code == 0
    assert f"spectra   3 endmembers, from {finished[0]}" in out
    assert "masks     cloud 10, water 0.0" in out
    code, out, _ = inside(capsys, *given)
    assert code == 0
    assert " no data, " in out.splitlines()[1]
    assert out.splitlines()[1].startswith("pixels  ")
    code, _, err = inside(capsys, *given, "--count", "3")
    assert (code, err.strip()) == (
        2,
        "error: --count 3 is for endmembers that are found; leave it out with --endmembers",
    )


def test_a_bad_tile_is_named_and_the_exit_code_is_1_and_repeating_retries_it(site, tmp_path, capsys):
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    good, bad = (tiles / path.name for path in site.paths)
    good.symlink_to(site.paths[0])
    bad.write_bytes(site.paths[1].read_bytes()[:5000])
    run_dir = tmp_path / "run"

    code, out, err = inside(capsys, "run", tiles, "--out", run_dir, "--count", "3")
    assert code == 1
    assert out.startswith("1 of 2 tiles done, 1 failed")
    assert re.search(r"^failed  368050_4306000: .*truncated", out, re.MULTILINE)
    assert "368050_4306000 failed" in err
    assert inside(capsys, "run", tiles, "--out", tmp_path / "other", "--dry-run")[0] == 1

    code, out, _ = inside(capsys, "status", run_dir)
    assert code == 1
    assert out.startswith("1 of 2 tiles done, 0 pending, 1 failed")
    assert "truncated" in out
    assert list(json.loads(inside(capsys, "status", run_dir, "--json")[1])["failed"]) == ["368050_4306000"]

    bad.write_bytes(site.paths[1].read_bytes())
    code, out, _ = inside(capsys, "run", tiles, "--out", run_dir, "--count", "3")
    assert code == 0
    assert out.startswith("2 of 2 tiles done (1 before)")


def test_a_run_on_local_workers_equals_the_run_in_one_process(finished, site, tmp_path):
    where = tmp_path / "local.yaml"
    where.write_text("kind: local\noptions: {n_workers: 1, threads_per_worker: 2, memory_limit: 0}\n")
    process = call("run", site.folder, "--count", 3, "--out", tmp_path / "run", "--cluster", where)
    assert process.returncode == 0, process.stderr
    assert "getting workers" in process.stderr
    assert "INFO" not in process.stderr
    assert "WARNING" not in process.stderr
    ours, theirs = (hsi.open_results(folder).load() for folder in (tmp_path / "run", finished[0]))
    assert ours.equals(theirs)


# ---------------------------------------------------------------------------------------------------- signals, streams


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_that_comes_where_nothing_can_be_raised_ends_the_command_all_the_same(number, tmp_path):
    code = f"""
import signal, time, weakref
from hsi_dask.cli import app

class Thing: pass

def work(words):
    things = [Thing() for _ in range(3)]
    watched = [weakref.ref(thing, lambda _: signal.raise_signal({int(number)})) for thing in things[:1]]
    things.clear()  # the signal comes in the callback, which drops what is raised in it
    time.sleep(60)

app._dispatched = work
app.main(["status", "nowhere"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40, cwd=tmp_path)
    assert done.returncode == 128 + number
    assert done.stderr.strip() == "stopped; give the same command again to go on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_a_run_cleanly_and_it_says_how_to_go_on(site, tmp_path, number):
    run_dir = tmp_path / "run"
    words = [*HSI_DASK, "run", str(site.folder), "--out", str(run_dir), "--count", "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "sampling" in line:
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert out == ""
    assert err.splitlines()[-1] == f"stopped with 0 of 2 tiles done; run again with --out {run_dir} to go on"
    assert "Traceback" not in err
    assert call("run", "--out", run_dir).returncode == 0


@pytest.mark.parametrize(("columns", "bar"), [(80, 12), (110, 24)])
def test_a_terminal_shows_a_live_bar_with_tiles_rate_and_time_left(columns, bar, site, tmp_path):
    words = [*HSI_DASK, "run", str(site.folder), "--out", str(tmp_path / "run"), "--count", "3"]
    code, out, shown = on_terminal(words, columns)
    assert code == 0
    assert out.startswith(b"2 of 2 tiles done")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "sampling" in text
    assert re.search(r"[12] of 2 tiles, [\d.e+]+ tiles a minute, 0:00:\d\d left", text)
    lines = [line for line in re.split(r"[\r\n]+", text) if "━" in line and " of 2 tiles" in line]
    assert {sum(one in "━╸╺" for one in line) for line in lines} == {bar}
    assert all(len(line.rstrip()) <= columns and re.search(r"[━╸╺] \d:\d\d:\d\d [012] of 2", line) for line in lines)
    assert shown.decode().rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in shown.decode()[-200:]  # the cursor is back


def test_a_reader_of_stdout_that_has_seen_enough_changes_neither_the_work_nor_its_exit_code(finished, tmp_path):
    with subprocess.Popen(
        [*HSI_DASK, "export", str(finished[0]), "--out", str(tmp_path / "gis")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")
    assert len(list((tmp_path / "gis").iterdir())) == 24


def test_results_that_cannot_be_written_are_an_error_after_the_work(finished, tmp_path):
    with open("/dev/full", "w") as full:
        words = [*HSI_DASK, "export", str(finished[0]), "--out", str(tmp_path / "gis")]
        process = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == "error: standard output is incomplete (No space left on device); the work itself is done\n"
    assert len(list((tmp_path / "gis").iterdir())) == 24


@pytest.mark.parametrize("how", ["2>&1 >/dev/null | head -1", "2>/dev/full", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_stderr_that_is_lost_ends_nothing(how, site, tmp_path):
    run_dir = tmp_path / "run"
    command = (
        f"{' '.join(HSI_DASK)} run {site.folder} --out {run_dir} --count 3 --no-report {how}; exit ${{PIPESTATUS[0]}}"
    )
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=180, check=False)
    assert process.returncode == 0, process
    assert len(list((run_dir / "records").glob("*.json"))) == 2


def test_a_terminal_that_is_gone_ends_nothing(site, tmp_path):
    main, worker = pty.openpty()
    command = f"trap '' HUP; exec {' '.join(HSI_DASK)} run {site.folder} --out {tmp_path / 'run'} --count 3 --no-report"
    with subprocess.Popen(
        ["bash", "-c", command], stdout=worker, stderr=worker, stdin=worker, start_new_session=True
    ) as process:
        os.close(worker)
        while b"sampling" not in os.read(main, 4096):
            pass
        os.close(main)
        assert process.wait(timeout=180) == 0
    assert len(list((tmp_path / "run" / "records").glob("*.json"))) == 2


def test_an_ascii_stdout_shows_other_letters_as_escapes(site, tmp_path):
    folder = tmp_path / "Straße"
    folder.symlink_to(site.folder)
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    process = call("run", folder, "--out", tmp_path / "Läufe", "--count", 3, env=environment)
    assert process.returncode == 0, process.stderr
    assert r"L\xe4ufe/results.zarr" in process.stdout


def test_names_that_are_not_utf_8_work_everywhere(site, tmp_path, capsys):
    run_dir = tmp_path / os.fsdecode(b"L\xe4ufe")
    code, out, err = inside(capsys, "run", site.paths[0], "--out", run_dir, "--count", 3)
    assert (code, "WARNING" in err) == (0, False), err
    assert r"L\udce4ufe/results.zarr" in out
    assert (run_dir / "report.html").is_file()
    assert inside(capsys, "export", run_dir, "--out", run_dir / "gis")[0] == 0


def test_control_characters_of_files_never_reach_the_terminal(site, tmp_path, capsys):
    bad = tmp_path / "..bad\x1b[31m\x1b]0;x\x07\nerror: fake.h5"
    bad.write_bytes(b"x")
    code, out, err = inside(capsys, "run", bad, site.paths[0], "--out", tmp_path / "run", "--count", 3, "--no-report")
    assert code == 1
    assert "\x1b" not in out + err
    assert r"bad\x1b[31m" in out
    assert "\nerror: fake" not in out + err
    assert "\x1b" not in "".join(inside(capsys, "status", tmp_path / "run")[1:])


# ---------------------------------------------------------------------------------------------------- wrong requests


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nope"], "No such command 'nope'; see hsi-dask --help"),
        (["run", "TILE"], "Missing option '--out'; see hsi-dask run --help"),
        (["run", "TILE", "--out", "DIR", "--cuont", "3"], "No such option: --cuont"),
        (["run", "TILE", "--out", "DIR", "--count", "many"], "--count is 'many'; it must be a whole number, or auto"),
        (["run", "TILE", "--out", "DIR", "--count", "0"], "endmembers.count is 0; it must be a whole number"),
        (["run", "TILE", "--out", "DIR", "--config", "no.yaml"], "cannot read the configuration no.yaml: No such file"),
        (["run", "TILE", "--out", "DIR", "--cluster", "no.yaml"], "cannot read the cluster configuration no.yaml"),
        (["run", "gone.h5", "--out", "DIR"], "gone.h5 does not exist"),
        (["run", "--out", "DIR"], "no tiles; give files"),
        (["run", "*.nothing", "--out", "DIR"], "matches no file"),
        (["run", "TILE", "--out", "FULL"], "holds other things (empty_tile.h5, letter.txt, page.h5)"),
        (["run", "TILE", "--out", "FULL/letter.txt"], "is a file; give a folder"),
        (["run", "TILE", "--out", "FULL/letter.txt/run"], "cannot be written"),
        (["run", "FULL/page.h5", "--out", "DIR"], "is a web page"),
        (["run", "FULL/radiance.h5", "--out", "DIR"], "at-sensor radiance"),
        (["run", "FULL/empty_tile.h5", "--out", "DIR"], "has no pixel with data"),
        (["info", "gone.h5"], "gone.h5 does not exist"),
        (["status", "FULL"], "is not a run directory"),
        (["verify", "gone"], "gone does not exist"),
        (["demo", "FULL"], "holds other things (empty_tile.h5, letter.txt, page.h5)"),
        (["demo", "FULL/letter.txt"], "is a file; give a new folder"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_wrong_request_is_one_line_on_stderr_and_exit_code_2(words, sentence, site, full, tmp_path, capsys):
    places = {"TILE": str(site.paths[0]), "DIR": str(tmp_path / "run")}
    words = [places.get(word, word.replace("FULL", str(full))) for word in words]
    code, out, err = inside(capsys, *words)
    assert (code, out) == (2, "")
    *_, last = err.splitlines()
    assert last.startswith("error: ")
    assert sentence in last
    assert err.count("error:") == 1
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A folder with other things in it."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "letter.txt").write_text("Dear")
    (folder / "page.h5").write_text("<!DOCTYPE html><html>Sign in</html>")
    write_neon_tile(folder / "radiance.h5", simulate_scene((20, 20)), revision="radiance")
    write_neon_tile(folder / "empty_tile.h5", simulate_scene((20, 20), no_data=1.0))
    return folder


def test_a_bug_is_one_line_too_and_debug_shows_where(monkeypatch, capsys):
    def broken(tiles):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("hsi_dask.batch.tiles.search.search_tiles", broken)
    code, _, err = inside(capsys, "info", "x.h5")
    assert code == 2
    assert err == "error: ZeroDivisionError: by zero; this is a bug: `hsi-dask --debug ...` shows where\n"
    for words in (["--debug", "info", "x.h5"], ["info", "x.h5", "--debug"]):
        assert "in broken" in inside(capsys, *words)[2]


def test_wrong_requests_as_processes_end_with_2_and_help_and_version_with_0():
    wrong, right, version = call("rnu"), call("--help"), call("--version")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert (right.returncode, right.stderr) == (0, "")
    verbs = re.findall(r"^  (\w+)  ", right.stdout.partition("Commands:")[2], re.MULTILINE)
    assert verbs == [
        *("demo", "download", "info", "run", "count", "name", "library", "submit", "status", "verify", "report"),
        *("seams", "export", "view", "compare", "extract", "accuracy", "config", "warm", "cluster"),
    ]
    assert version.stdout == f"hsi-dask {hsi.__version__}\n"


# ---------------------------------------------------------------------------------------------------- looking


def test_info_on_one_file_tells_what_is_in_it(site, capsys):
    code, out, err = inside(capsys, "info", site.paths[0])
    assert (code, err) == (0, "")
    assert "SERC, DP3.30006.001" in out
    assert "50 x 50 (y, x) of 1 m, 0.0% no data" in out
    assert "426, 381.5 to 2510.1 nm, FWHM 5.6 to 6.4 nm" in out
    assert "1340 to 1445, 1790 to 1955 nm (from the file)" in out
    assert "EPSG:32618" in out
    assert "int16 in chunks of 32 x 50 x 27" in out


def test_info_counts_pixels_without_data_and_notes_what_is_missing(tmp_path, capsys):
    scene = simulate_scene((50, 60), no_data=0.3)
    path = write_neon_tile(tmp_path / "odd.h5", scene, revision="rewritten")
    out = inside(capsys, "info", path)[1]
    assert f"{scene.no_data.mean():.1%} no data" in out
    assert "note 1" in out


def test_info_on_many_files_is_a_line_each_and_bad_ones_make_the_exit_code_1(site, full, capsys):
    code, out, err = inside(capsys, "info", site.folder, full)
    assert code == 1
    assert len(out.splitlines()) == 1 + 2 + 1  # a header, the site, the tile without data
    assert "100.0%" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "left aside"]
    assert "is a web page" in err
    assert "1 .h5 of other products" in err


def test_config_prints_every_default_and_reads_back_equal(tmp_path, capsys):
    code, out, _ = inside(capsys, "config")
    assert code == 0
    assert out.count("#") > 10
    (tmp_path / "run.yaml").write_text(out)
    assert hsi.RunConfig.from_yaml(tmp_path / "run.yaml") == hsi.RunConfig()


def test_status_as_json_is_for_programs(finished, capsys):
    code, out, _ = inside(capsys, "status", finished[0], "--json")
    assert code == 0
    told = json.loads(out)
    assert told["done"] == ["368000_4306000", "368050_4306000"]
    assert told["pending"] == []
    assert told["failed"] == {}


def test_verify_finds_a_flipped_byte_and_ends_with_1(site, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert inside(capsys, "run", site.paths[0], "--out", run_dir, "--count", "2")[0] == 0
    code, out, _ = inside(capsys, "verify", run_dir)
    assert code == 0
    assert re.fullmatch(r"1 tile, \d+ chunks: all as recorded\n", out)
    chunk = next(path for path in (run_dir / "results.zarr" / "abundance" / "c").rglob("*") if path.is_file())
    held = bytearray(chunk.read_bytes())
    held[len(held) // 2] ^= 1
    chunk.write_bytes(held)
    code, out, _ = inside(capsys, "verify", run_dir)
    assert code == 1
    assert "holds other bytes than were written" in out


# ---------------------------------------------------------------------------------------------------- areas


def test_an_area_is_shown_by_a_dry_run_and_goes_into_a_submitted_job(site, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bounds = ("--bounds", 368005, 4306005, 368020, 4306020)
    code, out, _ = inside(capsys, "run", site.folder, "--out", "run", *bounds, "--dry-run")
    assert code == 0
    assert out.startswith("tiles     1 to map\n")
    assert "area      bounds 368005 4306005 368020 4306020: 368005 to 368020 E" in out
    assert re.search(
        r"^note    the area \(.*\) touches 1 of \d+ tiles, and [\d,]+ of the [\d,]+ stored", out, re.MULTILINE
    )
    (tmp_path / "slurm.yaml").write_text(
        "kind: slurm\njobs: 1\noptions: {cores: 1, memory: 2GB, walltime: '01:00:00'}\n"
    )
    words = ("submit", site.folder, "--out", "run", "--cluster", "slurm.yaml", "--dry-run")
    code, out, _ = inside(capsys, *words, *bounds)
    assert code == 0
    assert "--cluster slurm.yaml --bounds 368005 4306005 368020 4306020 &" in out
    more = ("--year", 2022, "--overlap", "best", "--method", "sam", "--method", "fcls", "--mix", "--count", "3")
    more = (*more, "--set", "endmembers.seed=3", "--no-report")
    shown = inside(capsys, *words, *more)[1]
    assert (
        "--cluster slurm.yaml --count 3 --method sam --method fcls --year 2022 --overlap best --set endmembers.seed=3 "
        "--mix --no-report &"
    ) in shown
    for wrong, sentence in (
        ((*bounds, "--region", "a.geojson"), "--bounds and --region both say where; give one of them"),
        (("--bounds-crs", 4326), "--bounds-crs 4326 is of --bounds; give both"),
        (("--region", "a.geojson"), "a.geojson does not exist or is no file; give one of .geojson"),
        (
            ("--bounds", 5, 5, 1, 1),
            "area.bounds is (5.0, 5.0, 1.0, 1.0); it must be null, or [west, south, east, north]",
        ),
    ):
        code, _, err = inside(capsys, "run", site.folder, "--out", "run", *wrong, "--dry-run")
        assert (code, sentence in err) == (2, True), err


# ---------------------------------------------------------------------------------------------------- demo


def test_the_demo_finds_what_was_simulated_and_repeated_computes_nothing(tmp_path):
    first = call("demo", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    rows = [line.split() for line in first.stdout.splitlines() if line.split()[:1] and line.split()[0] in MATERIALS]
    assert [row[0] for row in rows] == list(MATERIALS)
    for name, number, angle, rmse, *right in rows:
        assert int(number) > 0
        assert float(angle) < (6 if name == "water" else 1)  # degrees; dark water is mostly noise
        assert float(rmse) < 0.08
        assert all(float(share.rstrip("%")) > 93 for share in right)
    assert {path.name for path in (tmp_path / "hsi-dask-demo").iterdir()} == {"tiles", "run"}

    again = call("demo", cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout.startswith("4 of 4 tiles done (4 before)")
    assert again.stdout.partition("\n")[2] == first.stdout.partition("\n")[2]


def test_of_many_pending_tiles_status_lists_a_few_and_says_how_many_more(tmp_path, capsys):
    site = simulate_site(tmp_path / "tiles", tiles=(3, 4), size=5, no_data=0)
    hsi.run(hsi.RunConfig(tiles=(str(site.folder),), endmembers={"count": 2, "robust": False}), tmp_path / "run")
    for record in (tmp_path / "run/records").glob("*.json"):
        record.unlink()
    told = inside(capsys, "status", tmp_path / "run")[1].splitlines()
    assert told[0].startswith("0 of 12 tiles done")
    assert len([line for line in told if line.startswith("pending")]) == 11
    assert told[11].endswith(" more; --json lists all")
    assert told[-1].startswith("go on")


def test_proposed_names_are_accepted_by_the_line_that_is_printed(finished, tmp_path, capsys):
    run_dir = tmp_path / "a run"
    shutil.copytree(finished[0], run_dir)
    found = hsi.open_results(run_dir).endmembers
    rows = [["name", *found.wavelength.values], *(["wet soil", *values] for values in found.values)]
    with open(tmp_path / "library.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    code, told, hint = inside(capsys, "name", run_dir)
    assert (code, told) == (0, "1  no name yet\n2  no name yet\n3  no name yet\n")
    assert (
        hint
        == f"give them names with `hsi-dask name {shlex.quote(str(run_dir))} 1=water`; --library FILE proposes some\n"
    )
    code, told, _ = inside(capsys, "name", run_dir, "--library", tmp_path / "library.csv")
    assert code == 0
    *proposals, line = told.splitlines()
    assert [line.partition(",")[0] for line in proposals] == [
        f"endmember {number}: nearest is wet soil" for number in (1, 2, 3)
    ]
    program, *words = shlex.split(line.removeprefix("to accept them: "))
    assert program == "hsi-dask"
    assert inside(capsys, *words)[:2] == (0, "1  wet soil\n2  wet soil\n3  wet soil\n")


# ---------------------------------------------------------------------------------------------------- progress


def test_the_pace_counts_tiles_and_what_is_in_flight(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = Pace()
    pace.stage("checksums")
    pace.tile_advanced("", 0.25)
    assert pace.inside() == "checksums of files 25%"
    pace.total = 4
    pace.stage("sampling")
    pace.tile_advanced("a", 0.9)
    assert pace.progress == 0
    assert pace.inside() == "sampling a 90%"
    pace.message("tile b is left out of the sample: no pixel has data")
    assert pace.inside() == "sampling a 90%"
    pace.stage("endmembers")
    assert pace.inside() == "finding endmembers"
    pace.stage("mapping")
    assert pace.so_far() == "0 of 4 tiles"
    pace.tile_advanced("a", 0.0)
    now[0] = 30.0
    pace.tile_advanced("a", 0.5)
    pace.tile_advanced("a", 0.4)  # late news do not turn it back
    assert pace.so_far() == "0 of 4 tiles, 1 tile a minute, 0:03:30 left"
    assert pace.inside() == "a 50%"
    pace.tile_failed("a", "broken")
    assert (pace.settled, pace.inside()) == (1, "")


def test_compiling_is_said_and_is_outside_of_the_rate_and_of_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said = []
    pace = progress._Lines(said.append)
    pace.total = 4
    now[0] = -50.0
    pace.compiling("", True)  # for the endmembers, before any tile
    now[0] = -20.0
    pace.compiling("", False)
    now[0] = 0.0
    pace.stage("mapping")
    pace.tile_advanced("a", 0.0)
    for begun, ended in ((1.0, 20.0), (21.0, 40.0)):  # of a minute 38 s are spent compiling
        now[0] = begun
        pace.compiling("a", True)
        now[0] = begun + 15.0
        assert pace.inside() == "compiling (once for this machine)"
        now[0] = ended
        pace.compiling("a", False)
    now[0] = 68.0
    pace.tile_advanced("a", 0.5)
    assert pace.so_far() == "0 of 4 tiles, 1 tile a minute, 0:03:30 left"
    assert [line.partition(" ")[2] for line in said].count("compiling (once for this machine)") == 1
    pace.compiling("a", True)
    pace.tile_failed("a", "its workers died")  # its end is never told
    assert pace.inside() == ""


def test_what_does_not_fit_beside_the_bar_is_left_out_whole(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = Pace()
    pace.total = 123
    pace.tile_advanced("368000_4306000", 0.0)
    now[0] = 30.0
    pace.tile_advanced("368000_4306000", 0.5)
    whole = "0 of 123 tiles, 1 tile a minute, 2:02:30 left; 368000_4306000 50%"
    shown = {width: pace.so_far_within(width) for width in (100, 60, 47, 32, 20)}
    assert shown == {
        100: whole, 60: whole.partition("; ")[0], 47: whole.partition("; ")[0],
        32: "0 of 123 tiles, 2:02:30 left", 20: "0 of 123",
    }  # fmt: skip
    pace.compiling("368000_4306000", True)
    assert pace.so_far_within(57) == "0 of 123 tiles; compiling (once for this machine)"


def test_a_log_gets_a_line_from_inside_a_tile_that_takes_long(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.in_lines() as observer:
        observer.tile_advanced("a", 0.0)
        now[0] = progress.SILENCE / 2
        observer.tile_advanced("a", 0.1)
        assert capsys.readouterr().err == ""
        now[0] = 1.1 * progress.SILENCE
        observer.tile_advanced("a", 0.2)
    assert re.search(r"left; a 20%$", capsys.readouterr().err.strip())


IN_PYTHON = """
import sys
from pathlib import Path
import hsi_dask as hsi
site, out, progress = sys.argv[1], Path(sys.argv[2]), {"None": None, "False": False}[sys.argv[3]]
settings = hsi.RunConfig(tiles=(site,), endmembers={"count": 3, "robust": False}, methods=("sam",))
hsi.run(settings, out, progress=progress)
hsi.report(out, progress=progress)
"""


@pytest.mark.parametrize(("progress", "shows"), [(None, True), (False, False)])
def test_python_on_a_terminal_shows_how_far_runs_and_reports_are_unless_told_not_to(site, tmp_path, progress, shows):
    command = [sys.executable, "-c", IN_PYTHON, site.folder, tmp_path / "run", progress]
    code, out, shown = on_terminal(list(map(str, command)))
    text = shown.decode()
    assert (code, out) == (0, b""), text
    assert ("2 tiles to map" in text) == shows
    assert ("drawing the report" in text) == shows
    assert bool(text.strip()) == shows


def test_python_in_a_log_shows_nothing(site, tmp_path, capfd):
    settings = hsi.RunConfig(tiles=(str(site.folder),), endmembers={"count": 3, "robust": False}, methods=("sam",))
    hsi.run(settings, tmp_path / "run")
    assert capfd.readouterr() == ("", "")
    hsi.run(settings, tmp_path / "again", progress=True)
    assert "tile 368000_4306000 done" in capfd.readouterr().err


class Notebook:
    """What a notebook's shell offers: a kernel, and a cell's line that is written over."""

    def __init__(self):
        self.kernel, self.lines = object(), []

    def get_ipython(self):
        return self

    def display(self, bundle, *, raw, display_id):
        self.lines.append(bundle["text/plain"])
        return self

    def update(self, bundle, *, raw):
        self.lines.append(bundle["text/plain"])


def test_a_notebook_shows_a_line_that_ends_with_all_tiles(site, tmp_path, monkeypatch, capfd):
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    settings = hsi.RunConfig(tiles=(str(site.folder),), endmembers={"count": 3, "robust": False}, methods=("sam",))
    hsi.run(settings, tmp_path / "run")
    assert "2 tiles to map" in notebook.lines[-1]
    assert "2 of 2 tiles" in notebook.lines[-1]
    hsi.report(tmp_path / "run")
    assert notebook.lines[-1] == "drawing the report 100%"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("verb", "usage"), [("run", "[TILE]..."), ("name", "{RUN_DIR} [N=NAME]..."), ("demo", "[DIR]")]
)
def test_usage_marks_each_argument_once(capsys, verb, usage):
    assert inside(capsys, verb, "--help")[1].splitlines()[0] == f"Usage: hsi-dask {verb} [OPTIONS] {usage}"


def test_help_answers_at_once():
    started = time.perf_counter()
    assert call("run", "--help").returncode == 0
    assert time.perf_counter() - started < 5  # a tenth of a second alone; heavy imports are told in test_layers


# ------------------------------------------------------------------------------------------------ libraries


@pytest.mark.parametrize(("name", "method"), [("few.csv", "ies"), ("few.sli", "cob")])
def test_a_library_is_reduced_to_a_file_that_reads_back(tmp_path, capsys, name, method):
    rng = np.random.default_rng(0)
    bundles = np.repeat(material_spectra(["soil", "roof"], [500, 900, 1600, 2200]), 10, axis=0)
    bundles = bundles * rng.uniform(0.5, 1, (20, 1)) + rng.normal(0, 0.01, bundles.shape)
    lines = ["name,class,500,900,1600,2200"]
    lines += [",".join(map(str, (f"s{n}", "soil" if n < 10 else "roof", *one))) for n, one in enumerate(bundles)]
    (tmp_path / "library.csv").write_text("\n".join(lines))
    out = tmp_path / name
    code, told, _ = inside(capsys, "library", tmp_path / "library.csv", "--out", out, "--method", method, "--count", 3)
    assert code == 0
    kept = hsi.read_spectra(out)
    assert sorted(set(kept.material.values)) == ["roof", "soil"]
    expected = hsi.reduce_library(hsi.read_spectra(tmp_path / "library.csv"), method=method, count=3)
    np.testing.assert_allclose(kept, expected, rtol=1e-6)
    assert f"{kept.sizes['endmember']} of 20 spectra by {method}" in told
    assert "models of up to 3 materials, of 120 before" in told
    assert ("kappa" in told) == (method == "ies")


def test_a_reduced_library_of_another_kind_of_file_is_refused(tmp_path, capsys):
    code, _, err = inside(capsys, "library", tmp_path / "library.csv", "--out", tmp_path / "few.xlsx")
    assert (code, err) == (2, f"error: --out is {tmp_path}/few.xlsx; name a .csv or a .sli file\n")
