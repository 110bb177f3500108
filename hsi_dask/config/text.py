"""Configurations as text: from mappings, as commented YAML, and what is wrong with one in a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from hsi_dask.config.sections import Section
from hsi_dask.errors import ConfigError
from hsi_dask.yaml_text import shortened, unknown_key


def without_empty_sections(values: Mapping[str, Any], model: type[Section]) -> dict[str, Any]:
    """The values, with a mapping for each section that is there and holds nothing."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = _section(model.model_fields[key].annotation) if key in model.model_fields else None
        if inner is not None and (value is None or isinstance(value, dict)):
            value = without_empty_sections(value or {}, inner)
        found[str(key)] = value
    return found


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values with changes; mappings change only the keys they name."""
    both = dict(values)
    for key, change in changes.items():
        sections = isinstance(change, Mapping) and isinstance(values.get(key), dict)
        both[key] = merged(values[key], change) if sections else change
    return both


def _section(annotation: Any) -> type[Section] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def flat(config: Section, exclude: set[str]) -> dict[str, str]:
    """Every value as JSON, by its key with those of its sections."""

    def walk(values: Mapping[str, Any], model: type[Section], prefix: str) -> Iterator[tuple[str, str]]:
        for name, value in values.items():
            inner = _section(model.model_fields[name].annotation)
            if inner is None:
                yield prefix + name, json.dumps(value)
            else:
                yield from walk(value, inner, f"{prefix}{name}.")

    return dict(walk(config.model_dump(mode="json", exclude=exclude), type(config), ""))


def commented(section: Section, indent: int) -> Iterator[str]:
    """Lines of YAML in which a comment says of every key what it means and may be."""
    space = " " * indent
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        extra = info.json_schema_extra
        allowed = f" ({extra['allowed']})" if isinstance(extra, dict) else ""
        yield f"{space}# {info.description}{allowed}"
        if isinstance(value, Section):
            yield f"{space}{name}:"
            yield from commented(value, indent + 2)
            continue
        plain = section.model_dump(mode="json")[name]
        flow = yaml.safe_dump({name: plain}, default_flow_style=True, width=math.inf, allow_unicode=True).strip()
        yield f"{space}{flow[1:-1]}"


def sentence(error: Any, top: type[Section]) -> str:
    """One pydantic error as: the key, its value and what it may be."""
    if error["type"] == "value_error" and not error["loc"]:
        return str(error["ctx"]["error"])
    if isinstance(told := error.get("ctx", {}).get("error"), ConfigError):
        return str(told)
    names = [part for part in error["loc"] if isinstance(part, str)]
    model = top
    path: list[str] = []
    for name in names:
        inner = _section(model.model_fields[name].annotation) if name in model.model_fields else None
        if inner is None or (error["type"] == "extra_forbidden" and len(path) == len(names) - 1):
            break
        model, path = inner, [*path, name]
    if error["type"] == "extra_forbidden":
        return _unknown(names, model, top)
    if len(path) == len(names):
        return f"{'.'.join(path)} is {shortened(error['input'])}; it must be a mapping with the keys " + ", ".join(
            model.model_fields
        )
    known = names[len(path)]
    extra = model.model_fields[known].json_schema_extra
    allowed = extra["allowed"] if isinstance(extra, dict) else error["msg"]
    return f"{'.'.join([*path, known])} is {shortened(error['input'])}; it must be {allowed}"


def _unknown(names: list[str], model: type[Section], top: type[Section]) -> str:
    prefix = "".join(f"{n}." for n in names[:-1])
    sections = {name: _section(field.annotation) for name, field in top.model_fields.items()}
    everywhere = [
        *top.model_fields,
        *(f"{name}.{key}" for name, section in sections.items() if section for key in section.model_fields),
    ]
    return unknown_key(names[-1], list(model.model_fields), prefix, everywhere)
