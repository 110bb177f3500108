"""Classes as people name them at places, and the values that a class map has for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.escaping import visible
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.schema import MATERIAL, UNCLASSIFIED, endmember_materials, endmember_numbers
from hsi_dask.show.summaries import labels_in, specifications

UNCLASSIFIED_NAME = "unclassified"
SHOWN = 8  # values that a message names

Classes = dict[str, list[int]]  # class values by the name of what they stand for


def as_text(value: Any) -> str | None:
    """What a cell of a table says; None where it says nothing."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split()) or None


def _names(maps: xr.Dataset, name: str) -> dict[int, str]:
    """Own names of class values: without the number that legends have."""
    classes = labels_in(maps, name).classes.items()
    return {value: text.removeprefix(f"{value} ") for value, (text, _) in classes if value != UNCLASSIFIED}


def _by_material(run_dir: str | os.PathLike[str], maps: xr.Dataset, name: str) -> Classes:
    """Class values of each material, where the classes are spectra of a library with materials."""
    spec = specifications(maps)[name]
    endmembers = open_endmembers(run_dir)
    try:
        materials = endmember_materials(endmembers)
    except EndmemberError:
        materials = None
    if materials is None or (spec.of in maps and MATERIAL in maps[spec.of].dims):
        return {}
    found: Classes = {}
    for number, material in zip(endmember_numbers(endmembers).tolist(), materials, strict=True):
        found.setdefault(visible(material), []).append(number)
    return found


def resolved(
    run_dir: str | os.PathLike[str],
    maps: xr.Dataset,
    name: str,
    known: Sequence[str | None],
    classes: Mapping[Any, Any],
) -> list[str | None]:
    """The class, by the name of an endmember or of a material, of what is known at each place.

    Raises
    ------
    ConfigError
        A value is the name or number of no class.
    """
    stands_for = {str(as_text(value)).lower(): str(as_text(to)) for value, to in classes.items()}
    names = _names(maps, name)
    spectra = {text.lower(): text for text in names.values()} | {str(value): text for value, text in names.items()}
    materials = {text.lower(): text for text in _by_material(run_dir, maps, name)}
    texts = {text: stands_for.get(text.lower(), text) for text in known if text is not None}
    for lookup in (materials, spectra):
        if lookup and all(to.lower() in lookup for to in texts.values()):
            return [None if text is None else lookup[texts[text].lower()] for text in known]
    lookup = spectra | materials
    unknown = sorted({to for to in texts.values() if to.lower() not in lookup}) or sorted(set(texts.values()))
    held = ", ".join(dict.fromkeys([*materials.values(), *names.values()]))[:400]
    shown = ", ".join(map(repr, unknown[:SHOWN])) + (f" and {len(unknown) - SHOWN} more" if unknown[SHOWN:] else "")
    raise ConfigError(
        f"no classes of {name} are {shown}; it has {held}; say which they are (--class VALUE=CLASS), or give "
        "endmembers these names (hsi-dask name)"
    )


def class_groups(run_dir: str | os.PathLike[str], maps: xr.Dataset, name: str, used: set[str]) -> Classes:
    """Class values by name, of materials if these are what is known; unclassified last."""
    materials = _by_material(run_dir, maps, name)
    found = materials if materials and used <= set(materials) else {}
    if not found:
        for value, text in _names(maps, name).items():
            found.setdefault(text, []).append(value)
    return found | {UNCLASSIFIED_NAME: [UNCLASSIFIED]}
