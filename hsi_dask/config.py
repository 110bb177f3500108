"""RunConfig: what to compute. A typed model and its YAML; where to compute is `hsi_dask.cluster`."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from hsi_dask.errors import ConfigError
from hsi_dask.extractors.registry import DEFAULT as DEFAULT_EXTRACTOR
from hsi_dask.extractors.registry import EXTRACTORS
from hsi_dask.methods.registry import DEFAULT, METHODS, in_order
from hsi_dask.parameters import Parameter, filled
from hsi_dask.yaml_text import joined, load, load_file, shortened, unknown_key

_SAMPLE = 20_000  # pixels that endmembers are found among
_MOST = 254  # endmembers: classes are uint8 and 255 means no data (schema.MAX_ENDMEMBERS)


def _option(default: Any, allowed: str, description: str, **limits: Any) -> Any:
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


def _some_methods(methods: tuple[str, ...]) -> tuple[str, ...]:
    if not methods:
        raise ValueError("empty")
    return in_order(methods)  # one order, so that it does not change the fingerprint


Method = Annotated[str, _known(METHODS)]
Extractor = Annotated[str, _known(EXTRACTORS)]
Window = Annotated[tuple[float, float], AfterValidator(_window)]
Index = Annotated[float, Field(strict=True, ge=-1, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EndmemberConfig(_Section):
    """How the endmember spectra are found, or where they are given."""

    file: str | None = _option(
        None, "null or a path",
        "given spectra instead of found ones: an earlier run, endmembers.zarr, a CSV table, an ENVI library (.sli), or "
        "earthlib",
    )  # fmt: skip
    names: tuple[str, ...] | None = _option(
        None, "null or a list of names", "which spectra of that file, in this order; null: all"
    )
    units: Literal["fraction", "percent", "10000"] | None = _option(
        None, "null, fraction, percent or 10000", "what the reflectance of that file is in; null: judged by its values"
    )
    material_column: str | None = _option(
        None, "null or a column's name", "which column of that file, or of the table beside it, names materials"
    )
    count: Annotated[int, Field(strict=True, ge=1, le=_MOST)] | Literal["auto"] = _option(
        4, f"a whole number from 1 to {_MOST}, or auto",
        "how many to find; of given ones, how many there are; auto: as many as come back from other pixels, to `most`",
    )  # fmt: skip
    most: int = _option(
        20, "a whole number from 2 to 60", "as many as count: auto may find; memory is planned for them",
        strict=True, ge=2, le=60,
    )  # fmt: skip
    method: Extractor = _option(DEFAULT_EXTRACTOR, f"one of {', '.join(EXTRACTORS.specifications)}", "how to find them")
    restarts: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = _option(
        None, "null or a whole number from 1 to 1000",
        "random starts of N-FINDR, of which the largest volume is kept; null: 10, and more where they disagree",
    )  # fmt: skip
    robust: bool = _option(
        True,
        "true or false",
        "drop pixels that stand alone, and take the mean of the ten pixels most like each endmember; false: plain",
        strict=True,
    )
    options: dict[str, Any] = _option(
        {}, "a mapping of its parameters to their values",
        "further parameters of the method: "
        + "; ".join(
            f"{name}: {', '.join(p.name for p in spec.parameters if p.name != 'restarts')}"
            for name, spec in EXTRACTORS.specifications.items()
            if any(p.name != "restarts" for p in spec.parameters)
        ),
    )  # fmt: skip
    sample: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | Literal["all"] = _option(
        _SAMPLE, "a whole number from 1 to 10000000, or all",
        "pixels to search, over all tiles together; all: every pixel, beginning with a sample; of nfindr alone",
    )  # fmt: skip
    sample_tiles: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = _option(
        None, "null or a whole number from 1 to 10000",
        "at most this many tiles, spread over all, are read for it; null: 16",
    )  # fmt: skip
    seed: int = _option(
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


class BandConfig(_Section):
    """Which wavelengths are left out."""

    windows: tuple[Window | Literal["file"], ...] | None = _option(
        None, "null or pairs such as [[1340, 1445], [1790, 1955]]; file in place of a pair: those of the files",
        "water-vapour windows to leave out, in nm; null: the ones each file declares",
    )  # fmt: skip
    drop_last: int = _option(
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


def _each(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    return () if value is None else (value,)


def _one_or_each(kind: Any) -> Any:
    """Null, one value of a type, or one per endmember."""
    return kind | tuple[kind, ...] | None


def _thresholds() -> type[_Section]:
    """The section `thresholds`: one key for each method that has a threshold."""
    limits = {name: spec.threshold for name, spec in METHODS.specifications.items() if spec.threshold}
    fields: dict[str, Any] = {
        name: (_one_or_each(one.type), _option(None, one.allowed, one.description)) for name, one in limits.items()
    }
    fields["relative"] = (
        bool,
        _option(
            False, "true or false",
            "thresholds are fractions, above 0 and up to 1, of each endmember's range of scores over the whole run, "
            "from its best end; all tiles are then read twice",
            strict=True,
        ),
    )  # fmt: skip
    return create_model("ThresholdConfig", __base__=_Section, **fields)


def _options() -> type[_Section]:
    """The section `options`: a section for each method that has parameters."""
    fields: dict[str, Any] = {}
    for spec in METHODS.specifications.values():
        if spec.parameters:
            own: dict[str, Any] = {
                p.name: (p.type, _option(p.default, p.allowed, p.description)) for p in spec.parameters
            }
            section = create_model(f"{spec.name.title()}Options", __base__=_Section, **own)
            fields[spec.name] = (section, Field(section(), description=spec.title.lower()))
    return create_model("OptionConfig", __base__=_Section, **fields)


if TYPE_CHECKING:  # made of what the methods declare

    class ThresholdConfig(_Section):
        relative: bool = False

    class OptionConfig(_Section): ...

else:
    ThresholdConfig, OptionConfig = _thresholds(), _options()


class MaskConfig(_Section):
    """Which pixels are left out of maps and sample, and why. `quality` keeps every reason; no data is always one."""

    cloud: Literal[10, 50] | None = _option(
        None, "null, 10 or 50",
        "NEON's Weather_Quality_Indicator: leave out pixels with more cloud than 10 % (yellow and red) or 50 % (red)",
    )  # fmt: skip
    shadow: bool = _option(
        False, "true or false",
        "NEON's Cast_Shadow: leave out pixels that terrain, trees or buildings shade; which value means shade is "
        "decided by which side of its edges is darker",
        strict=True,
    )  # fmt: skip
    saturated: float | None = _option(
        None, "null or a reflectance above 0",
        "leave out pixels brighter than this at any wavelength that is kept; 1 is a white surface, and noise at the "
        "ends of the spectrum may exceed it",
        strict=True, gt=0, allow_inf_nan=False,
    )  # fmt: skip
    negative: bool = _option(
        False, "true or false",
        "leave out pixels with a reflectance below 0 at any wavelength that is kept (dark water, deep shade)",
        strict=True,
    )  # fmt: skip
    water: Index | None = _option(
        None, "null or a number from -1 to 1, such as 0.0",
        "leave out water: NDWI (560 against 842 nm) above this",
    )  # fmt: skip
    vegetation: Index | None = _option(
        None, "null or a number from -1 to 1, such as 0.4",
        "leave out vegetation, to map soil and rock: NDVI (842 against 665 nm) above this",
    )  # fmt: skip
    not_vegetation: Index | None = _option(
        None, "null or a number from -1 to 1, such as 0.3",
        "leave out what is not vegetation, to map plants: NDVI below this",
    )  # fmt: skip


def _bounds(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    if not (all(map(math.isfinite, bounds)) and west < east and south < north):
        raise ValueError("no area")
    return bounds


Bounds = Annotated[tuple[float, float, float, float], AfterValidator(_bounds)]


class AreaConfig(_Section):
    """Which part of the site is mapped: a rectangle or polygons. Only stored chunks that touch it are read."""

    bounds: Bounds | None = _option(
        None, "null, or [west, south, east, north] with west below east and south below north",
        "map only this rectangle, in the tiles' CRS unless bounds_crs says otherwise; a pixel is inside when its "
        "centre is",
    )  # fmt: skip
    bounds_crs: Annotated[int, Field(strict=True, ge=1, le=10**6)] | None = _option(
        None, "null or an EPSG code such as 4326", "the CRS of bounds; null: that of the tiles"
    )
    region: str | None = _option(
        None, "null or a path",
        "map only these polygons: a GeoJSON file, a GeoPackage, a shapefile or a FlatGeobuf, in any CRS; what they are "
        "is kept in the run directory",
    )  # fmt: skip


class RunConfig(_Section):
    """What to compute: tiles, endmembers, bands, masks, methods, thresholds. Frozen; errors are ConfigErrors.

    Sections may be given as mappings, as in YAML.

    Examples
    --------
    >>> config = RunConfig(endmembers={"count": 6})
    >>> config.endmembers.count, config.methods
    (6, ('fcls', 'sam', 'sid'))
    >>> RunConfig(endmembers={"cuont": 6})
    Traceback (most recent call last):
    hsi_dask.errors.ConfigError: unknown key endmembers.cuont; did you mean endmembers.count?
    """

    tiles: tuple[str, ...] = _option(
        (), "a list of paths", "reflectance files, folders of them, patterns such as site/*.h5, or .txt lists of these"
    )
    year: Annotated[int, Field(strict=True, ge=2000, le=2100)] | None = _option(
        None, "null or a year such as 2022", "of tiles of several years those of this one"
    )
    visit: str | None = _option(
        None, "null or a visit such as 2022_SERC_6", "of tiles of several visits those of this one, by their folders"
    )
    mix: bool = _option(
        False, "true or false",
        "may tiles be of several products (.001, .002), sites, years or visits? Their reflectances differ by design or "
        "by time",
        strict=True,
    )  # fmt: skip
    overlap: Literal["error", "first", "last", "best"] = _option(
        "error", "error, first, last or best",
        "what holds where tiles or flight lines overlap: the first or last that has data, by their paths in order; "
        "best: the least cloudy, then the one nearest to nadir, by the files' layers; the run then maps cells of 1 km "
        "instead of files. error: such tiles are refused",
    )  # fmt: skip
    area: AreaConfig = Field(AreaConfig(), description="which part of the site is mapped; without any, all of it")
    endmembers: EndmemberConfig = Field(
        EndmemberConfig(), description="how the endmember spectra are found, or where they are given"
    )
    bands: BandConfig = Field(BandConfig(), description="which wavelengths are left out")
    masks: MaskConfig = Field(MaskConfig(), description="which pixels are left out, besides those without data")
    methods: Annotated[tuple[Method, ...], AfterValidator(_some_methods)] = _option(
        DEFAULT, f"at least one of {', '.join(METHODS.specifications)}",
        "; ".join(f"{spec.name}: {spec.title.lower()}" for spec in METHODS.specifications.values()),
    )  # fmt: skip
    thresholds: ThresholdConfig = Field(
        ThresholdConfig(), description="scores beyond which a pixel is not of an endmember"
    )
    options: OptionConfig = Field(OptionConfig(), description="parameters of methods")
    checksums: bool = _option(
        False, "true or false",
        "keep the sha256 of every input file in the manifest; all files are read for it before the run begins",
        strict=True,
    )  # fmt: skip

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(joined(map(_sentence, error.errors()))) from None

    @model_validator(mode="after")
    def _thresholds_fit(self) -> Self:
        for method, value in self.thresholds:
            if method == "relative":
                continue
            counted = self.endmembers.file is None  # else the plan compares: it knows how many the file holds
            if counted and isinstance(value, tuple) and self.endmembers.count == "auto":
                raise ValueError(f"thresholds.{method} has {len(value)} numbers, but count is auto; give one number")
            if counted and isinstance(value, tuple) and len(value) != self.endmembers.count:
                raise ValueError(
                    f"thresholds.{method} has {len(value)} numbers, endmembers.count is "
                    f"{self.endmembers.count}; give one number, or one per endmember"
                )
            if self.thresholds.relative and any(not 0 < one <= 1 for one in _each(value)):
                raise ValueError(f"thresholds.{method} is {value}; with thresholds.relative it must be in (0, 1]")
            if value is not None and method not in self.methods:
                raise ValueError(f"thresholds.{method} is set, but methods has no {method}; add it")
        return self

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        filled(self._extractor_parameters(), self.endmembers.options, f"endmembers.options of {self.endmembers.method}")
        if self.endmembers.names is not None and self.endmembers.file is None:
            raise ValueError("endmembers.names is set, but endmembers.file is not; name the file that holds them")
        if self.area.bounds is not None and self.area.region is not None:
            raise ValueError("area.bounds and area.region are both set; set one of them to null")
        if self.area.bounds_crs is not None and self.area.bounds is None:
            raise ValueError(f"area.bounds_crs is {self.area.bounds_crs}, but area.bounds is not set; set both")
        few = self.endmembers.count != "auto" and self.endmembers.count < 2
        if self.endmembers.sample == "all" and (self.endmembers.method != "nfindr" or few):
            raise ValueError("endmembers.sample is all, which is for 2 or more endmembers by nfindr; give a number")
        low, high = self.masks.not_vegetation, self.masks.vegetation
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"masks.not_vegetation {low:g} and masks.vegetation {high:g} leave nothing; set one of them to null"
            )
        return self

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> RunConfig:
        """The configuration in a YAML file; missing keys take their defaults."""
        values = load_file(path)
        try:
            return cls._from_values(values)
        except ConfigError as error:
            raise ConfigError(f"{os.fspath(path)}: {error}") from None

    @classmethod
    def from_text(cls, text: str) -> RunConfig:
        """The configuration in YAML text."""
        return cls._from_values(load(text))

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> RunConfig:
        """An empty section, its keys commented out, has its defaults."""
        return cls(**_without_empty_sections(values, cls))

    def replace(self, **changes: Any) -> RunConfig:
        """Another configuration with these values; mappings change only the keys they name.

        Examples
        --------
        >>> RunConfig(endmembers={"seed": 7}).replace(endmembers={"count": 3}).endmembers.seed
        7
        """
        values = _merged(self.model_dump(exclude_unset=True), changes)  # what nobody has said stays unsaid
        return RunConfig(**values)

    def to_yaml(self) -> str:
        """Every key and value as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def commented_yaml(self) -> str:
        """Every key with its value, and what it means and may be as a comment; loads back equal."""
        return "\n".join(_commented(self, 0)) + "\n"

    def _extractor_parameters(self) -> list[Parameter]:
        """Parameters of the extractor that have no key of their own."""
        return [p for p in EXTRACTORS.get(self.endmembers.method).parameters if p.name != "restarts"]

    @property
    def extractor_options(self) -> dict[str, Any]:
        """Values of the extractor's parameters, by name."""
        own = filled(self._extractor_parameters(), self.endmembers.options, self.endmembers.method)
        restarts = any(p.name == "restarts" for p in EXTRACTORS.get(self.endmembers.method).parameters)
        return own | ({"restarts": self.endmembers.restarts} if restarts else {})

    @property
    def limits(self) -> dict[str, Any]:
        """Thresholds of the methods that are asked for, by their names; scores, or fractions of their ranges."""
        return {name: value for name, value in self.thresholds.model_dump().items() if name in self.methods}

    @property
    def method_options(self) -> dict[str, dict[str, Any]]:
        """Options of the methods that are asked for, by their names."""
        return {name: values for name, values in self.options.model_dump().items() if name in self.methods}

    def fingerprint(self) -> str:
        """sha256 over everything that decides the numbers: not which tiles, nor settings of methods not asked for."""
        settings = self.model_dump(mode="json", exclude=_NOT_NUMBERS)
        if self.overlap == "error":  # no tiles of such a run overlap
            del settings["overlap"]
        for section in ("thresholds", "options"):
            settings[section] = {name: v for name, v in settings[section].items() if name in self.methods}
        if self.thresholds.relative:
            settings["thresholds"]["relative"] = True
        return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def differences(self, other: RunConfig) -> list[str]:
        """`key: mine, not theirs` for every setting that decides the numbers and differs."""
        mine, theirs = _flat(self), _flat(other)
        return [f"{key}: {mine[key]}, not {theirs[key]}" for key in mine if mine[key] != theirs[key]]


# Settings that do not decide what a tile's numbers are; of an area, which its polygons do (`Plan.fingerprint`)
_NOT_NUMBERS = {"tiles", "year", "visit", "mix", "checksums", "area"}


def _without_empty_sections(values: Mapping[str, Any], model: type[_Section]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = _section(model.model_fields[key].annotation) if key in model.model_fields else None
        if inner is not None and (value is None or isinstance(value, dict)):
            value = _without_empty_sections(value or {}, inner)
        found[str(key)] = value
    return found


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values with changes; mappings change only the keys they name."""
    merged = dict(values)
    for key, change in changes.items():
        both = isinstance(change, Mapping) and isinstance(values.get(key), dict)
        merged[key] = _merged(values[key], change) if both else change
    return merged


def _section(annotation: Any) -> type[_Section] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, _Section) else None


def _flat(config: RunConfig) -> dict[str, str]:
    def walk(values: Mapping[str, Any], model: type[_Section], prefix: str) -> Iterator[tuple[str, str]]:
        for name, value in values.items():
            inner = _section(model.model_fields[name].annotation)
            if inner is None:
                yield prefix + name, json.dumps(value)
            else:
                yield from walk(value, inner, f"{prefix}{name}.")

    return dict(walk(config.model_dump(mode="json", exclude=_NOT_NUMBERS), RunConfig, ""))


def _commented(section: _Section, indent: int) -> Iterator[str]:
    space = " " * indent
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        extra = info.json_schema_extra
        allowed = f" ({extra['allowed']})" if isinstance(extra, dict) else ""
        yield f"{space}# {info.description}{allowed}"
        if isinstance(value, _Section):
            yield f"{space}{name}:"
            yield from _commented(value, indent + 2)
            continue
        plain = section.model_dump(mode="json")[name]
        flow = yaml.safe_dump({name: plain}, default_flow_style=True, width=math.inf, allow_unicode=True).strip()
        yield f"{space}{flow[1:-1]}"


def _sentence(error: Any) -> str:
    """One pydantic error as: the key, its value and what it may be."""
    if error["type"] == "value_error" and not error["loc"]:
        return str(error["ctx"]["error"])
    if isinstance(told := error.get("ctx", {}).get("error"), ConfigError):
        return str(told)
    names = [part for part in error["loc"] if isinstance(part, str)]
    model: type[_Section] = RunConfig
    path: list[str] = []
    for name in names:
        inner = _section(model.model_fields[name].annotation) if name in model.model_fields else None
        if inner is None or (error["type"] == "extra_forbidden" and len(path) == len(names) - 1):
            break
        model, path = inner, [*path, name]
    if error["type"] == "extra_forbidden":
        return _unknown(names, model)
    if len(path) == len(names):
        return f"{'.'.join(path)} is {shortened(error['input'])}; it must be a mapping with the keys " + ", ".join(
            model.model_fields
        )
    known = names[len(path)]
    extra = model.model_fields[known].json_schema_extra
    allowed = extra["allowed"] if isinstance(extra, dict) else error["msg"]
    return f"{'.'.join([*path, known])} is {shortened(error['input'])}; it must be {allowed}"


def _unknown(names: list[str], model: type[_Section]) -> str:
    prefix = "".join(f"{n}." for n in names[:-1])
    sections = {name: _section(field.annotation) for name, field in RunConfig.model_fields.items()}
    everywhere = [
        *RunConfig.model_fields,
        *(f"{name}.{key}" for name, section in sections.items() if section for key in section.model_fields),
    ]
    return unknown_key(names[-1], list(model.model_fields), prefix, everywhere)
