"""Flags of settings that everybody sets: methods, thresholds, bands, masks, endmembers, and any other by its key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsi_dask.errors import ConfigError

if TYPE_CHECKING:
    from hsi_dask.config import RunConfig

Methods = Annotated[
    list[str] | None, typer.Option("--method", metavar="NAME", help="What to compute; may be repeated.")
]
Thresholds = Annotated[
    list[str] | None,
    typer.Option("--threshold", metavar="METHOD=X", help="Such as sam=0.1, or one per endmember: sam=0.1,0.2,0.1."),
]
Windows = Annotated[
    list[str] | None, typer.Option("--windows", metavar="LOW-HIGH", help="More wavelengths to leave out, nm: 350-400.")
]
MaskFlags = Annotated[
    list[str] | None, typer.Option("--mask", metavar="NAME[=X]", help="Such as shadow, cloud=10, water=0.0.")
]
Names = Annotated[
    str | None,
    typer.Option("--names", metavar="A,B", help="Which spectra of --endmembers, by name or number, in order."),
]
Bounds = Annotated[
    tuple[float, float, float, float] | None,
    typer.Option("--bounds", metavar="W S E N", help="Only this rectangle, in the tiles' CRS."),
]
BoundsCrs = Annotated[
    int | None, typer.Option("--bounds-crs", metavar="EPSG", help="The CRS of --bounds, such as 4326.")
]
RegionFile = Annotated[
    Path | None,
    typer.Option("--region", metavar="FILE", help="Only these polygons: GeoJSON, GeoPackage or shapefile."),
]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration."),
]


def changed(
    settings: RunConfig,
    *,
    methods: list[str] | None = None,
    thresholds: list[str] | None = None,
    windows: list[str] | None = None,
    masks: list[str] | None = None,
    names: str | None = None,
    values: list[str] | None = None,
    keep_outliers: bool = False,
    sample_tiles: int | None = None,
    units: str | None = None,
    material_column: str | None = None,
    area: dict[str, Any] | None = None,
) -> RunConfig:
    """The settings with what flags say.

    Raises
    ------
    ConfigError
        A flag that does not say what it should.
    """
    found: dict[str, Any] = {}
    own: dict[str, Any] = {"names": tuple(part.strip() for part in names.split(",")) if names else None}
    own |= {"sample_tiles": sample_tiles, "units": units, "material_column": material_column}
    own |= {"robust": False} if keep_outliers else {}
    if kept := {key: value for key, value in own.items() if value is not None}:
        found["endmembers"] = kept
    if methods:
        found["methods"] = tuple(name for words in methods for name in words.replace(",", " ").split())
    if windows:
        found["bands"] = {"windows": ("file", *(_window(word) for words in windows for word in words.split(",")))}
    if thresholds:
        found["thresholds"] = dict(_threshold(words) for words in thresholds)
    if area:
        found["area"] = area
    if masks:
        found["masks"] = dict(_mask(words) for words in masks)
    for words in values or ():
        _set(found, words)
    return settings.replace(**found) if found else settings


def area_of(
    bounds: tuple[float, float, float, float] | None, bounds_crs: int | None, region: Path | None
) -> dict[str, Any]:
    """The section `area` that flags ask for; of an earlier configuration nothing stays. Empty without such flags."""
    if bounds is None and bounds_crs is None and region is None:
        return {}
    if bounds_crs is not None and bounds is None:
        raise ConfigError(f"--bounds-crs {bounds_crs} is of --bounds; give both")
    if bounds is not None and region is not None:
        raise ConfigError("--bounds and --region both say where; give one of them")
    return {"bounds": bounds, "bounds_crs": bounds_crs, "region": None if region is None else str(region)}


def area_words(area: dict[str, Any]) -> list[str]:
    """The flags that say an area, as `area_of` gives it."""
    words = []
    for flag, value in (("--bounds", area.get("bounds")), ("--bounds-crs", area.get("bounds_crs"))):
        if value is not None:
            words += [flag, *(f"{one:.15g}" for one in (value if isinstance(value, tuple) else (value,)))]
    return words + (["--region", area["region"]] if area.get("region") else [])


def _pair(words: str, flag: str, example: str) -> tuple[str, str]:
    name, equals, value = words.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise ConfigError(f"{flag} {words}: give it as {flag} {example}")
    return name.strip(), value.strip()


def _threshold(words: str) -> tuple[str, Any]:
    name, value = _pair(words, "--threshold", "sam=0.1")
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        raise ConfigError(f"--threshold {words}: {value} is no number; give it as --threshold sam=0.1") from None
    return name, numbers[0] if len(numbers) == 1 else numbers


def _window(word: str) -> tuple[float, float]:
    low, _, high = word.strip().partition("-")
    try:
        return float(low), float(high)
    except ValueError:
        raise ConfigError(f"--windows {word}: give it as --windows 1340-1445, in nm") from None


def _mask(words: str) -> tuple[str, Any]:
    name, equals, value = words.partition("=")
    return name.strip(), _value(value) if equals else True


def _value(text: str) -> Any:
    """What a value is as YAML reads it."""
    from hsi_dask.yaml_text import load

    return load(f"value: {text}").get("value")


def _set(found: dict[str, Any], words: str) -> None:
    key, value = _pair(words, "--set", "bands.drop_last=0")
    *sections, last = key.split(".")
    for section in sections:
        found = found.setdefault(section, {})
        if not isinstance(found, dict):
            raise ConfigError(f"--set {words}: {section} is set as a whole already; set one or the other")
    found[last] = _value(value)
