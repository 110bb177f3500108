"""The sections of a configuration, and what each key may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from hsi_dask.errors import ConfigError
from hsi_dask.extractors.registry import DEFAULT as DEFAULT_EXTRACTOR
from hsi_dask.extractors.registry import EXTRACTORS, of_every_pixel
from hsi_dask.methods.registry import METHODS, in_order

_SAMPLE = 20_000  # pixels that endmembers are found among
_MOST = 254  # endmembers: classes are uint8 and 255 means no data (schema.MAX_ENDMEMBERS)


def option(default: Any, allowed: str, description: str, **limits: Any) -> Any:
    """A field with the sentence that errors and the commented YAML quote."""
    return Field(default, description=description, json_schema_extra={"allowed": allowed}, **limits)


def _window(window: tuple[float, float]) -> tuple[float, float]:
    if not 0 < window[0] < window[1]:
        raise ValueError("not ascending")
    return window


def _known(registry: Any) -> AfterValidator:
    def known(name: str) -> str:
        if name in registry.broken:
            raise ConfigError(registry.broken[name])
        if name not in registry.specifications:
            raise ValueError("unknown")
        return name

    return AfterValidator(known)


def some_methods(methods: tuple[str, ...]) -> tuple[str, ...]:
    if not methods:
        raise ValueError("empty")
    return in_order(methods)  # one order, so that it does not change the fingerprint


Method = Annotated[str, _known(METHODS)]
Extractor = Annotated[str, _known(EXTRACTORS)]
Window = Annotated[tuple[float, float], AfterValidator(_window)]
Index = Annotated[float, Field(strict=True, ge=-1, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EndmemberConfig(Section):
    """How the endmember spectra are found, or where they are given."""

    file: str | None = option(
        None, "null or a path",
        "given spectra instead of found ones: an earlier run, endmembers.zarr, a CSV table, an ENVI library (.sli), or "
        "earthlib",
    )  # fmt: skip
    names: tuple[str, ...] | None = option(
        None, "null or a list of names", "which spectra of that file, in this order; null: all"
    )
    units: Literal["fraction", "percent", "10000"] | None = option(
        None, "null, fraction, percent or 10000", "what the reflectance of that file is in; null: judged by its values"
    )
    material_column: str | None = option(
        None, "null or a column's name", "which column of that file, or of the table beside it, names materials"
    )
    count: Annotated[int, Field(strict=True, ge=1, le=_MOST)] | Literal["auto"] = option(
        4, f"a whole number from 1 to {_MOST}, or auto",
        "how many to find; of given ones, how many there are; auto: as many as come back from other pixels, to `most`",
    )  # fmt: skip
    most: int = option(
        20, "a whole number from 2 to 60", "as many as count: auto may find; memory is planned for them",
        strict=True, ge=2, le=60,
    )  # fmt: skip
    method: Extractor = option(DEFAULT_EXTRACTOR, f"one of {', '.join(EXTRACTORS.specifications)}", "how to find them")
    restarts: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = option(
        None, "null or a whole number from 1 to 1000",
        "random starts of N-FINDR, of which the largest volume is kept; null: 10, and more where they disagree",
    )  # fmt: skip
    robust: bool = option(
        True,
        "true or false",
        "drop pixels that stand alone, and take the mean of the ten pixels most like each endmember; false: plain",
        strict=True,
    )
    options: dict[str, Any] = option(
        {}, "a mapping of its parameters to their values",
        "further parameters of the method: "
        + "; ".join(
            f"{name}: {', '.join(p.name for p in spec.parameters if p.name != 'restarts')}"
            for name, spec in EXTRACTORS.specifications.items()
            if any(p.name != "restarts" for p in spec.parameters)
        ),
    )  # fmt: skip
    sample: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | Literal["all"] = option(
        _SAMPLE, "a whole number from 1 to 10000000, or all",
        "pixels to search, over all tiles together; all: every pixel, beginning with a sample, by "
        f"{of_every_pixel()}",
    )  # fmt: skip
    sample_tiles: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = option(
        None, "null or a whole number from 1 to 10000",
        "at most this many tiles, spread over all, are read for it; null: 16",
    )  # fmt: skip
    seed: int = option(
        0,
        "a whole number from 0 to 2**32 - 1",
        "same seed, same pixels, same endmembers",
        strict=True,
        ge=0,
        lt=2**32,
    )

    @property
    def sampled(self) -> int:
        """How many pixels are sampled."""
        return _SAMPLE if self.sample == "all" else self.sample


class BandConfig(Section):
    """Which wavelengths are left out."""

    windows: tuple[Window | Literal["file"], ...] | None = option(
        None, "null or pairs such as [[1340, 1445], [1790, 1955]]; file in place of a pair: those of the files",
        "water-vapour windows to leave out, in nm; null: the ones each file declares",
    )  # fmt: skip
    drop_last: int = option(
        10,
        "a whole number from 0 to 400",
        "noisy bands to leave out at the long end; with the spectra of an earlier run as many as that run, unless said",
        strict=True,
        ge=0,
        le=400,
    )

    @property
    def pairs(self) -> tuple[Window, ...] | None:
        """The windows of a plan, in which those of the files stand in place of "file"."""
        return None if self.windows is None else tuple(one for one in self.windows if one != "file")


def each(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    return () if value is None else (value,)


def _one_or_each(kind: Any) -> Any:
    """Null, one value of a type, or one per endmember."""
    return kind | tuple[kind, ...] | None


def _thresholds() -> type[Section]:
    """The section `thresholds`: one key for each method that has a threshold."""
    limits = {name: spec.threshold for name, spec in METHODS.specifications.items() if spec.threshold}
    fields: dict[str, Any] = {
        name: (_one_or_each(one.type), option(None, one.allowed, one.description)) for name, one in limits.items()
    }
    fields["relative"] = (
        bool,
        option(
            False, "true or false",
            "thresholds are fractions, above 0 and up to 1, of each endmember's range of scores over the whole run, "
            "from its best end; all tiles are then read twice",
            strict=True,
        ),
    )  # fmt: skip
    return create_model("ThresholdConfig", __base__=Section, **fields)


def _options() -> type[Section]:
    """The section `options`: a section for each method that has parameters."""
    fields: dict[str, Any] = {}
    for spec in METHODS.specifications.values():
        if spec.parameters:
            own: dict[str, Any] = {
                p.name: (p.type, option(p.default, p.allowed, p.description)) for p in spec.parameters
            }
            section = create_model(f"{spec.name.title()}Options", __base__=Section, **own)
            fields[spec.name] = (section, Field(section(), description=spec.title.lower()))
    return create_model("OptionConfig", __base__=Section, **fields)


if TYPE_CHECKING:  # made of what the methods declare

    class ThresholdConfig(Section):
        relative: bool = False

    class OptionConfig(Section): ...

else:
    ThresholdConfig, OptionConfig = _thresholds(), _options()


class MaskConfig(Section):
    """Which pixels are left out of maps and sample, and why. `quality` keeps every reason; no data is always one."""

    cloud: Literal[10, 50] | None = option(
        None, "null, 10 or 50",
        "NEON's Weather_Quality_Indicator: leave out pixels with more cloud than 10 % (yellow and red) or 50 % (red)",
    )  # fmt: skip
    shadow: bool = option(
        False, "true or false",
        "NEON's Cast_Shadow: leave out pixels that terrain, trees or buildings shade; which value means shade is "
        "decided by which side of its edges is darker",
        strict=True,
    )  # fmt: skip
    saturated: float | None = option(
        None, "null or a reflectance above 0",
        "leave out pixels brighter than this at any wavelength that is kept; 1 is a white surface, and noise at the "
        "ends of the spectrum may exceed it",
        strict=True, gt=0, allow_inf_nan=False,
    )  # fmt: skip
    negative: bool = option(
        False, "true or false",
        "leave out pixels with a reflectance below 0 at any wavelength that is kept (dark water, deep shade)",
        strict=True,
    )  # fmt: skip
    water: Index | None = option(
        None, "null or a number from -1 to 1, such as 0.0",
        "leave out water: NDWI (560 against 842 nm) above this",
    )  # fmt: skip
    vegetation: Index | None = option(
        None, "null or a number from -1 to 1, such as 0.4",
        "leave out vegetation, to map soil and rock: NDVI (842 against 665 nm) above this",
    )  # fmt: skip
    not_vegetation: Index | None = option(
        None, "null or a number from -1 to 1, such as 0.3",
        "leave out what is not vegetation, to map plants: NDVI below this",
    )  # fmt: skip


def _bounds(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    if not (all(map(math.isfinite, bounds)) and west < east and south < north):
        raise ValueError("no area")
    return bounds


Bounds = Annotated[tuple[float, float, float, float], AfterValidator(_bounds)]


class AreaConfig(Section):
    """Which part of the site is mapped: a rectangle or polygons. Only stored chunks that touch it are read."""

    bounds: Bounds | None = option(
        None, "null, or [west, south, east, north] with west below east and south below north",
        "map only this rectangle, in the tiles' CRS unless bounds_crs says otherwise; a pixel is inside when its "
        "centre is",
    )  # fmt: skip
    bounds_crs: Annotated[int, Field(strict=True, ge=1, le=10**6)] | None = option(
        None, "null or an EPSG code such as 4326", "the CRS of bounds; null: that of the tiles"
    )
    region: str | None = option(
        None, "null or a path",
        "map only these polygons: a GeoJSON file, a GeoPackage, a shapefile or a FlatGeobuf, in any CRS; what they are "
        "is kept in the run directory",
    )  # fmt: skip
