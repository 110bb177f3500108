"""A run on one page: report.html, which opens from disk, offline, and holds its pictures itself.

Maps are drawn from the overviews, a plane at a time; counts, means and areas are those of all pixels.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.run_directory import versions
from hsi_dask.errors import RunError
from hsi_dask.escaping import visible_lines
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.overviews.overviews import kept_overviews
from hsi_dask.schema import ENDMEMBER, FLAGS, X, Y
from hsi_dask.show import palettes, pictures
from hsi_dask.show.facts import Facts, area, bytes_text, duration

REPORT = "report.html"
_SITE = re.compile(r"NEON_D\d\d_([A-Z0-9]{4})_")


def write_report(run_dir: str | os.PathLike[str], *, advanced: Advanced = lambda share: None) -> Path:
    """Write RUN_DIR/report.html; returns its path. `advanced` is of its overviews, as in `open_overviews`.

    Raises
    ------
    RunError
        The folder is not a run, has no finished tile, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = hsi.synthetic.simulate_site(folder, tiles=(1, 1), size=40)
    ...     summary = hsi.run(hsi.RunConfig(tiles=[folder]), f"{folder}/run")
    ...     page = write_report(summary.run_dir).read_text(encoding="utf-8")
    >>> page.startswith("<!doctype html>"), "http://" in page
    (True, False)
    """
    with kept_overviews(run_dir, advanced=advanced) as overviews:
        page = _page(Facts(overviews))
    path = Path(run_dir) / REPORT
    try:
        write_file(path, page.encode())
        sync_folders([path.parent])
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); make room or restore access") from error
    return path


def _page(facts: Facts) -> str:
    import jinja2
    from matplotlib import rc_context

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    settings = jinja2.Environment(loader=loader, autoescape=True, finalize=_shown, trim_blocks=True, lstrip_blocks=True)
    with rc_context(pictures.STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that no installed font has become boxes
        return settings.get_template("report.html").render(
            title=_title(facts),
            summary=list(_summary(facts)),
            pictures=list(pictures.pictures(facts)),
            spectra=pictures.spectra(facts),
            origins=list(_origins(facts)),
            located={X, Y} <= set(facts.endmembers.coords),
            abundances=list(pictures.abundances(facts)),
            scale=pictures.scale() if "abundance" in facts.maps else None,
            residual=pictures.residual(facts),
            classes=list(pictures.classes(facts)),
            quality=pictures.quality(facts),
            layout=pictures.layout(facts),
            tiles=_tiles(facts),
            states=palettes.STATES,
            settings=facts.run.config.commented_yaml(),
            versions={"made with": facts.run.manifest.versions, "drawn with": versions()},
            run=facts.run,
        )


def _shown(value: Any) -> Any:
    """What the page says, before it is escaped as HTML; the settings keep their lines."""
    return value if hasattr(value, "__html__") else visible_lines(str(value))


# ------------------------------------------------------------------------------------------------ words


def _title(facts: Facts) -> str:
    sites = {found[1] for tile in facts.run.manifest.tiles if (found := _SITE.search(tile.path))}
    if not sites and facts.first:
        sites = {facts.first.site}
    return ", ".join(sorted(sites)) or facts.run.path.resolve().name


def _summary(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Label, number, and what else there is to say."""
    manifest, records = facts.run.manifest, facts.records
    pending = len(manifest.tiles) - len(records) - len(facts.failed)
    rest = [f"{len(facts.failed)} failed"] * bool(facts.failed) + [f"{pending} pending"] * bool(pending > 0)
    yield "tiles", f"{len(records)} of {len(manifest.tiles)} done", ", ".join(rest) or "none failed"
    valid = sum(record.pixels.get("valid", 0) for record in records)
    # a pixel may be masked for several reasons: quality counts each once, and nothing that has no data at all
    found, none = facts.statistics["quality"][0].values, sum(record.pixels.get("no_data", 0) for record in records)
    total = none + sum(n for value, n in found.items() if not int(value) & FLAGS["no_data"])
    yield "mapped area", area(valid * facts.pixel_area), f"{valid:,} pixels, {valid / max(total, 1):.1%} of the tiles"
    west, south, east, north = manifest.grid.bbox
    step, unit = manifest.grid.resolution[0], manifest.grid.unit
    yield "grid", manifest.grid.label, f"{west:.9g} to {east:.9g} E, {south:.9g} to {north:.9g} N, {step:g} {unit}"
    seconds = sum(record.seconds for record in records)
    hosts = len({record.host for record in records})
    where = f", on {hosts} machines" if hosts > 1 else ""
    yield "computing", duration(seconds), f"{seconds / max(len(records), 1):.1f} s a tile{where}"
    read = sum(record.file_size for record in records)
    written = sum(chunk.nbytes for record in records for chunk in record.chunks)
    yield "data", f"{bytes_text(read)} in", f"{bytes_text(written)} of maps out"
    wavelength = facts.endmembers["wavelength"]
    spectra = f"{float(wavelength[0]):.0f} to {float(wavelength[-1]):.0f} nm, {wavelength.size} wavelengths"
    yield "endmembers", str(len(facts.names)), spectra


def _origins(facts: Facts) -> Iterator[dict[str, str]]:
    """Where each endmember came from."""
    spectra, known = facts.endmembers, set(facts.endmembers.coords)
    files = {str(tile): facts.file(str(tile)) for tile in np.unique(spectra["tile"])} if "tile" in known else {}
    for number, (name, colour) in enumerate(zip(facts.names, facts.colours, strict=True)):
        one = spectra.isel({ENDMEMBER: number})
        tile = str(one["tile"].item()) if "tile" in known else ""
        file = files.get(tile)
        yield {
            "name": name, "colour": colour, "tile": tile or str(spectra.attrs.get("source", "given")),
            "place": f"{float(one[X]):.9g} E, {float(one[Y]):.9g} N" if {X, Y} <= known else "not of this site",
            "date": ", ".join(file.dates) if file else "", "line": ", ".join(file.flight_lines) if file else "",
            "mean": _mean(facts, number),
        }  # fmt: skip


def _mean(facts: Facts, number: int) -> str:
    found = facts.statistics.get("abundance")
    return f"{found[number].mean:.3f}" if found else ""


def _tiles(facts: Facts) -> list[dict[str, Any]]:
    """Every tile; what went wrong comes first."""
    order = ["failed", "pending", "done"]
    return sorted(_each_tile(facts), key=lambda tile: order.index(tile["state"]))


def _each_tile(facts: Facts) -> Iterator[dict[str, Any]]:
    done = {record.tile: record for record in facts.records}
    for tile in facts.run.manifest.tiles:
        record, reason = done.get(tile.id), facts.failed.get(tile.id)
        masked = {k: n for k, n in record.pixels.items() if n and k not in ("valid", "no_data")} if record else {}
        words = [f"{n:,} {name.replace('_', ' ')}" for name, n in masked.items()]
        yield {
            "id": tile.id, "file": os.path.basename(tile.path), "reason": reason,
            "state": "done" if record else "failed" if reason else "pending",
            "valid": f"{record.pixels.get('valid', 0):,}" if record else "", "masked": ", ".join(words),
            "seconds": f"{record.seconds:.1f}" if record else "",
            "finished": record.finished.replace("T", " ").replace("Z", "") if record else "",
        }  # fmt: skip
