"""What endmembers, materials and maps are called, in legends, tables, bands and layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hsi_dask.escaping import visible
from hsi_dask.schema import (
    ENDMEMBER,
    MATERIAL,
    UNCLASSIFIED,
    Variable,
    endmember_materials,
    endmember_names,
    endmember_numbers,
)
from hsi_dask.show.palettes import UNCLASSIFIED_COLOUR, colours_of

_ACRONYM = 4  # letters, at most, of a method's name that is written in capitals


@dataclass(frozen=True)
class Labels:
    """Endmembers, or the materials of a library: numbers, which are class values, with names and colours."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def colours(self) -> list[str]:
        """Of each, as #rrggbb."""
        return colours_of(self.numbers)

    @property
    def classes(self) -> Mapping[int, tuple[str, str]]:
        """Name and colour by class value."""
        own = dict(zip(self.numbers, zip(self.names, self.colours, strict=True), strict=True))
        return {UNCLASSIFIED: ("unclassified", UNCLASSIFIED_COLOUR)} | own


def labels_of(endmembers: xr.DataArray, dim: str = ENDMEMBER) -> Labels:
    """Endmembers as "3 roof", or "endmember 3" where they have no names; materials by their names; a line each."""
    if dim == MATERIAL:
        names = np.unique(endmembers[MATERIAL].values.astype(str))
        return Labels(tuple(range(1, len(names) + 1)), tuple(map(visible, names)))
    numbers, own = endmember_numbers(endmembers).tolist(), endmember_names(endmembers)
    if own is None:
        return Labels(tuple(numbers), tuple(f"endmember {number}" for number in numbers))
    plain = (f"endmember {number}" for number in numbers)
    return Labels(
        tuple(numbers),
        tuple(name if name == no_name else f"{number} {visible(name)}"
              for number, name, no_name in zip(numbers, own, plain, strict=True)),
    )  # fmt: skip


def lines_of(endmembers: xr.DataArray) -> tuple[list[str], list[str]]:
    """The name and the colour of each spectrum's line: its material's, where spectra have one, else its own."""
    own, materials = labels_of(endmembers), endmember_materials(endmembers)
    if materials is None:
        return list(own.names), own.colours
    of = labels_of(endmembers, MATERIAL)
    colours = dict(zip(of.names, of.colours, strict=True))
    names = [visible(material) for material in materials]
    return names, [colours[name] for name in names]


def drawn_of(endmembers: xr.DataArray, most: int) -> xr.DataArray:
    """The spectra that are drawn: all up to so many; of more, about as many evenly from each material."""
    count = endmembers.sizes[ENDMEMBER]
    if count <= most:
        return endmembers
    materials = np.array(endmember_materials(endmembers) or [""] * count)
    kinds = [np.flatnonzero(materials == one) for one in np.unique(materials)]
    room = max(most // len(kinds), 1)
    chosen = [own[np.unique(np.linspace(0, own.size - 1, min(room, own.size)).astype(int))] for own in kinds]
    return endmembers.isel({ENDMEMBER: np.sort(np.concatenate(chosen))})


def dim_of(variable: Variable, variables: Mapping[str, Variable]) -> str:
    """What the planes, or the class values, of a map stand for: endmembers or materials."""
    of = variables.get(variable.of or "", variable)
    return MATERIAL if MATERIAL in of.dims else ENDMEMBER


def title_of(variable: Variable) -> str:
    """A short title from the name: short names of methods are acronyms.

    Examples
    --------
    >>> title_of(Variable("sam_angle", ("endmember", "y", "x"), "float32", "spectral angle", "radian", role="score"))
    'SAM angle'
    >>> title_of(Variable("abundance_class", ("y", "x"), "uint8", "largest", role="class", of="abundance"))
    'abundance classes'
    """
    first, *rest = variable.name.split("_")
    words = " ".join([first.upper() if rest and len(first) <= _ACRONYM else first, *rest])
    return f"{words}es" if variable.role == "class" and words.endswith("class") else words


def capital(text: str) -> str:
    """A text as a heading."""
    return text[:1].upper() + text[1:]


def units_of(variable: Variable) -> str:
    """ " (radian)", or nothing of a number without units."""
    return f" ({variable.units})" if variable.units not in (None, "", "1") else ""
