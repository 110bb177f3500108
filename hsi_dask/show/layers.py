"""What an interactive page can show of a run: a layer for each picture, map, and plane of a map, grouped by role."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from hsi_dask.schema import CLASS_DIMS, QUICKLOOK, Variable
from hsi_dask.show.composites import MIX, has_composite, largest
from hsi_dask.show.figures import PICTURES
from hsi_dask.show.labels import Labels, capital, title_of

BAND, COMPOSITE = "band", "rgb"  # pictures of wavelengths that are chosen on the page
CHOSEN = {BAND: "one band", COMPOSITE: "three bands"}


class Layer(NamedTuple):
    """Something to look at: a map, one plane of it, or a picture of some wavelengths.

    number : of the plane's endmember or material; 0 of a map without planes
    plane : where it is among the planes
    picture : "true", "cir", "band" or "rgb"
    mix : where the three planes are that are red, green and blue
    """

    group: str
    title: str
    spec: Variable
    number: int = 0
    plane: int = 0
    picture: str = ""
    mix: tuple[int, ...] = ()

    @property
    def variable(self) -> str:
        """The map's name."""
        return self.spec.name

    @property
    def key(self) -> str:
        part = MIX if self.mix else self.picture or str(self.number or "")
        return "/".join(filter(None, (self.variable, part)))

    @property
    def role(self) -> str:
        return "picture" if self.picture else "mix" if self.mix else self.spec.role


def layers_of(
    variables: Sequence[Variable], labels: Callable[[Variable], Labels], means: Callable[[Variable], Sequence[float]]
) -> dict[str, Layer]:
    """Every layer of these maps by its key, in groups; `labels` and `means` are of a map's planes."""
    return {layer.key: layer for layer in _layers(variables, labels, means)}


def _layers(
    variables: Sequence[Variable], labels: Callable[[Variable], Labels], means: Callable[[Variable], Sequence[float]]
) -> Iterator[Layer]:
    for name, title in (PICTURES | CHOSEN).items():
        yield Layer("Picture", title, QUICKLOOK, picture=name)
    for variable in variables:
        if variable.role == "class":
            yield Layer("Classes", title_of(variable), variable)
    planes = [variable for variable in variables if len(variable.dims) > len(CLASS_DIMS)]
    beside = [variable for variable in planes if variable.role == "uncertainty"]
    for variable in planes:
        if variable not in beside:
            if has_composite(variable, len(found := means(variable))):
                title = title_of(variable)
                yield Layer(capital(title), f"{title}, three as colours", variable, mix=largest(found))
            yield from _of_planes(variable, labels)
            for unsure in (one for one in beside if one.of == variable.name):
                yield from _of_planes(unsure, labels)
    for unsure in (one for one in beside if one.of not in {variable.name for variable in planes}):
        yield from _of_planes(unsure, labels)
    for variable in variables:
        if variable not in planes and variable.role != "class":
            yield Layer("Quality", title_of(variable), variable)


def _of_planes(variable: Variable, labels: Callable[[Variable], Labels]) -> Iterator[Layer]:
    title, known = title_of(variable), labels(variable)
    for plane, (number, name) in enumerate(zip(known.numbers, known.names, strict=True)):
        yield Layer(capital(title), f"{title}, {name}", variable, number, plane)
