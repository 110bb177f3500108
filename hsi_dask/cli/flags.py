"""Flags that `run` and `submit` have in common: one list of them, to settings, and back to the words of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from hsi_dask.cli.settings import (
    Bounds,
    BoundsCrs,
    MaskFlags,
    Methods,
    Names,
    RegionFile,
    Thresholds,
    Values,
    Windows,
    area_of,
    changed,
)
from hsi_dask.errors import ConfigError

if TYPE_CHECKING:
    from hsi_dask.config import RunConfig


@dataclass(frozen=True)
class RunFlags:
    """What is to be computed, and what is not a setting but travels with it. None, False: not said."""

    config: Annotated[Path | None, typer.Option(metavar="FILE", help="What to compute; see `hsi-dask config`.")] = None
    count: Annotated[str | None, typer.Option("--count", metavar="N|auto", help="How many endmembers (4).")] = None
    endmembers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Given spectra: an earlier run, endmembers.zarr, .csv or ENVI .sli."),
    ] = None
    library: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same, of a library with materials, or earthlib.")
    ] = None
    names: Names = None
    material_column: Annotated[str | None, typer.Option(metavar="NAME", help="Which column names materials.")] = None
    library_units: Annotated[str | None, typer.Option(metavar="UNIT", help="fraction, percent or 10000.")] = None
    method: Methods = None
    threshold: Thresholds = None
    windows: Windows = None
    mask: MaskFlags = None
    bounds: Bounds = None
    bounds_crs: BoundsCrs = None
    region: RegionFile = None
    year: Annotated[int | None, typer.Option(metavar="Y", help="Of tiles of several years those of this one.")] = None
    visit: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of several visits this one, such as 2022_SERC_6.")
    ] = None
    overlap: Annotated[
        str | None,
        typer.Option(metavar="WHICH", help="Where tiles overlap: first, last or best (least cloud, then nadir)."),
    ] = None
    sample_tiles: Annotated[int | None, typer.Option(metavar="N", help="Tiles to find endmembers in (16).")] = None
    keep_outliers: Annotated[
        bool, typer.Option("--keep-outliers", help="Endmembers may be single pixels that stand alone.")
    ] = False
    values: Values = None
    mix: Annotated[bool, typer.Option("--mix", help="Tiles may be of several products, sites or years in one run.")] = (
        False
    )
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Keep the sha256 of every input file; all are read for it first.")
    ] = False
    same_content: Annotated[
        bool, typer.Option("--same-content", help="Files that were copied again may have other times; checked.")
    ] = False
    no_report: Annotated[bool, typer.Option("--no-report", help="Draw no page of pictures at the end.")] = False


_FIELDS = fields(RunFlags)


def with_run_flags(verb: Callable[..., int]) -> Callable[..., int]:
    """A verb that takes all of these flags; its parameter `flags` gets them."""
    hints, flags = get_type_hints(verb, include_extras=True), get_type_hints(RunFlags, include_extras=True)
    kind, parameters = inspect.Parameter.KEYWORD_ONLY, list[inspect.Parameter]()
    for name, own in inspect.signature(verb).parameters.items():
        if name == "flags":
            parameters += [
                inspect.Parameter(f.name, kind, default=f.default, annotation=flags[f.name]) for f in _FIELDS
            ]
        else:
            parameters.append(inspect.Parameter(name, kind, default=own.default, annotation=hints[name]))

    @wraps(verb)
    def called(**values: Any) -> int:
        return verb(flags=RunFlags(**{one.name: values.pop(one.name) for one in _FIELDS}), **values)

    del called.__wrapped__  # typer would ask the verb itself
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def settings_from(flags: RunFlags, tiles: Sequence[str], out: Path) -> RunConfig:
    """The settings that flags ask for; what they do not say is as in the file of settings, or in the run.

    Raises
    ------
    ConfigError
        Flags that contradict each other, or do not say what they should.
    """
    from hsi_dask.cli.runs import settings_of
    from hsi_dask.methods.registry import FOR_LIBRARY

    if flags.library is not None and flags.endmembers is not None:
        raise ConfigError("--library and --endmembers both name spectra; give one of them")
    spectra = flags.endmembers or flags.library
    if spectra is not None and flags.count is not None:
        raise ConfigError(f"--count {flags.count} is for endmembers that are found; leave it out with --endmembers")
    settings = settings_of(tiles, out, flags.config)
    settings = settings if spectra is None else settings.replace(endmembers={"file": str(spectra)})
    settings = changed(
        settings, methods=flags.method or (list(FOR_LIBRARY) if flags.library else None), thresholds=flags.threshold,
        windows=flags.windows, masks=flags.mask, names=flags.names, values=flags.values,
        keep_outliers=flags.keep_outliers, sample_tiles=flags.sample_tiles, units=flags.library_units,
        material_column=flags.material_column, area=area_of(flags.bounds, flags.bounds_crs, flags.region),
    )  # fmt: skip
    own: dict[str, Any] = {"year": flags.year, "visit": flags.visit, "overlap": flags.overlap}
    own |= {name: True for name in ("mix", "checksums") if getattr(flags, name)}
    own |= {} if flags.count is None else {"endmembers": {"count": _count(flags.count)}}
    return settings.replace(**{name: value for name, value in own.items() if value is not None})


def _count(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--count is {text!r}; it must be a whole number, or auto") from None


def words_of(flags: RunFlags) -> list[str]:
    """The flags as words of a command.

    Examples
    --------
    >>> words_of(RunFlags(count="3", bounds=(0.0, 0.0, 1.5, 2.0), method=["sam", "sid"], mix=True))
    ['--count', '3', '--method', 'sam', '--method', 'sid', '--bounds', '0', '0', '1.5', '2', '--mix']
    """
    return [word for one in _FIELDS for word in _words(one.name, getattr(flags, one.name))]


def _words(name: str, value: Any) -> Iterator[str]:
    (option,) = get_type_hints(RunFlags, include_extras=True)[name].__metadata__
    named = option.default  # where typer keeps the first word of an annotation
    flag = named if isinstance(named, str) else f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return
    if isinstance(value, list):
        yield from (word for one in value for word in (flag, one))
    elif value is True:
        yield flag
    else:
        parts = value if isinstance(value, tuple) else (value,)
        yield from (flag, *(f"{part:.15g}" if isinstance(part, float) else str(part) for part in parts))
