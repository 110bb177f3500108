"""RunConfig: all that decides what a run computes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from hsi_dask.config.sections import (
    AreaConfig,
    BandConfig,
    EndmemberConfig,
    MaskConfig,
    Method,
    OptionConfig,
    Section,
    ThresholdConfig,
    each,
    option,
    some_methods,
)
from hsi_dask.config.text import commented, flat, merged, sentence, without_empty_sections
from hsi_dask.errors import ConfigError
from hsi_dask.extractors.registry import EXTRACTORS, of_every_pixel
from hsi_dask.methods.registry import DEFAULT, METHODS
from hsi_dask.parameters import Parameter, filled
from hsi_dask.yaml_text import joined, load, load_file

# Settings that do not decide what a tile's numbers are; of an area, which its polygons do (`Plan.fingerprint`)
_NOT_NUMBERS = {"tiles", "year", "visit", "mix", "checksums", "area"}


class RunConfig(Section):
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

    tiles: tuple[str, ...] = option(
        (), "a list of paths", "reflectance files, folders of them, patterns such as site/*.h5, or .txt lists of these"
    )
    year: Annotated[int, Field(strict=True, ge=2000, le=2100)] | None = option(
        None, "null or a year such as 2022", "of tiles of several years those of this one"
    )
    visit: str | None = option(
        None, "null or a visit such as 2022_SERC_6", "of tiles of several visits those of this one, by their folders"
    )
    mix: bool = option(
        False, "true or false",
        "may tiles be of several products (.001, .002), sites, years or visits? Their reflectances differ by design or "
        "by time",
        strict=True,
    )  # fmt: skip
    overlap: Literal["error", "first", "last", "best"] = option(
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
    methods: Annotated[tuple[Method, ...], AfterValidator(some_methods)] = option(
        DEFAULT, f"at least one of {', '.join(METHODS.specifications)}",
        "; ".join(f"{spec.name}: {spec.title.lower()}" for spec in METHODS.specifications.values()),
    )  # fmt: skip
    thresholds: ThresholdConfig = Field(
        ThresholdConfig(), description="scores beyond which a pixel is not of an endmember"
    )
    options: OptionConfig = Field(OptionConfig(), description="parameters of methods")
    checksums: bool = option(
        False, "true or false",
        "keep the sha256 of every input file in the manifest; all files are read for it before the run begins",
        strict=True,
    )  # fmt: skip

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(joined(sentence(one, type(self)) for one in error.errors())) from None

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
            if self.thresholds.relative and any(not 0 < one <= 1 for one in each(value)):
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
        if self.endmembers.sample == "all" and (few or not EXTRACTORS.get(self.endmembers.method).every_pixel):
            raise ValueError(
                f"endmembers.sample is all, which is for 2 or more endmembers by {of_every_pixel()}; give a number"
            )
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
        return cls(**without_empty_sections(values, cls))

    def replace(self, **changes: Any) -> RunConfig:
        """Another configuration with these values; mappings change only the keys they name.

        Examples
        --------
        >>> RunConfig(endmembers={"seed": 7}).replace(endmembers={"count": 3}).endmembers.seed
        7
        """
        values = merged(self.model_dump(exclude_unset=True), changes)  # what nobody has said stays unsaid
        return RunConfig(**values)

    def to_yaml(self) -> str:
        """Every key and value as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def commented_yaml(self) -> str:
        """Every key with its value, and what it means and may be as a comment; loads back equal."""
        return "\n".join(commented(self, 0)) + "\n"

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
        mine, theirs = flat(self, _NOT_NUMBERS), flat(other, _NOT_NUMBERS)
        return [f"{key}: {mine[key]}, not {theirs[key]}" for key in mine if mine[key] != theirs[key]]
