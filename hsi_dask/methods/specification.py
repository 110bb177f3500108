"""Method: what a per-pixel method is called, takes, needs and makes; all else of the package iterates over it.

A method's maps follow from sums over wavelength that all methods share (`kernels.projection.Sums`): the products of
each pixel with a basis of the endmembers, the pixel's energy and, if asked for, the sums of the information divergence.

Examples
--------
A method that scores brightness, and whose largest score wins:

>>> import numpy as np
>>> from hsi_dask.schema import MAP_DIMS, Variable
>>> def finish(model, sums):
...     return {"toy_score": model @ sums.projections / np.sqrt(sums.energy)}
>>> toy = Method(
...     name="toy", kind="similarity", title="cosine", source="an example",
...     variables=score_variables("toy", "cosine of the spectral angle", better="high"),
...     prepare=unit_vertices, finish=finish,
... )
>>> [v.name for v in toy.variables]
['toy_score', 'toy_class']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.parameters import Parameter
from hsi_dask.schema import CLASS_DIMS, MAP_DIMS, Variable

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums

Kind = Literal["abundances", "similarity", "detection", "mixture"]


class Library(NamedTuple):
    """The spectra that pixels are compared with.

    spectra : (p, L) float64 reflectance
    names : p names
    numbers : (p,) int, the endmembers' own numbers, which class maps and models hold
    material : (p,) number of each spectrum's material, from 0; None where spectra have none
    """

    spectra: NDArray[np.float64]
    names: tuple[str, ...]
    numbers: NDArray[np.int64]
    material: NDArray[np.intp] | None = None


class Background(NamedTuple):
    """Statistics of the whole scene: mean (L,), covariance and noise covariance (L, L), float64, of `pixels` pixels."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    noise_covariance: NDArray[np.float64]
    pixels: int


class Inputs(NamedTuple):
    """What a method prepares itself from.

    library : the spectra
    basis : (r, L) float64, orthonormal rows that span the spectra and the method's own directions
    options : values of the method's parameters, by name
    background : statistics of the scene, where the method needs them
    """

    library: Library
    basis: NDArray[np.float64]
    options: Mapping[str, Any]
    background: Background | None = None

    @property
    def vertices(self) -> NDArray[np.float64]:
        """(p, r): the spectra on the basis."""
        return self.library.spectra @ self.basis.T


@dataclass(frozen=True)
class Method:
    """A per-pixel method.

    Attributes
    ----------
    name : as configurations say it; a Python identifier
    kind : what group it is shown in
    title : for legends and tables
    source : the publication that defines it
    variables : what it makes, in this order, with their roles; class variables are made from what they are `of`
    prepare : from `Inputs` to what `finish` needs: anything that pickles, without handles
    finish : (prepared, sums of n pixels) to arrays by variable name, (k, n) or (n,); class variables left out
    require : (library, options): raises ValueError where it cannot use a library, before anything is read
    directions : (library, options, background) to (k, L) further vectors whose products with each pixel are needed
    most_directions : (number of endmembers, options) to how many these are at most: memory is projected by it
    divergence : the sums of the information divergence are needed
    background : statistics of the scene are needed
    parameters : options besides the threshold
    threshold : the threshold of its class variable, if it has one
    optional : of variables that are made only if an option is set, the parameter's name
    memory : bytes a pixel, beside its variables, that finishing holds
    """

    name: str
    kind: Kind
    title: str
    source: str
    variables: tuple[Variable, ...]
    prepare: Callable[[Inputs], Any]
    finish: Callable[[Any, Sums], Mapping[str, NDArray[Any]]]
    require: Callable[[Library, Mapping[str, Any]], None] | None = None
    directions: Callable[[Library, Mapping[str, Any], Background | None], NDArray[np.float64]] | None = None
    most_directions: Callable[[int, Mapping[str, Any]], int] = lambda endmembers, options: 0
    divergence: bool = False
    background: bool = False
    parameters: tuple[Parameter, ...] = ()
    threshold: Parameter | None = None
    optional: Mapping[str, str] = field(default_factory=dict)
    memory: int = 0

    def made(self, options: Mapping[str, Any]) -> tuple[Variable, ...]:
        """The variables that are made with these options."""
        return tuple(v for v in self.variables if v.name not in self.optional or options[self.optional[v.name]])

    def computed(self, options: Mapping[str, Any]) -> tuple[Variable, ...]:
        """The variables that `finish` returns: all but classes."""
        return tuple(v for v in self.made(options) if v.role != "class")

    @property
    def classes(self) -> Variable | None:
        """The class variable."""
        return next((v for v in self.variables if v.role == "class"), None)

    @property
    def classed(self) -> Variable | None:
        """The variable that the class variable is made of."""
        return next((v for v in self.variables if self.classes and v.name == self.classes.of), None)

    @property
    def of_materials(self) -> bool:
        """Whether its maps are of the materials of a library, not of each spectrum."""
        return any("material" in v.dims for v in self.variables)

    def defaults(self) -> dict[str, Any]:
        """The default of every parameter."""
        return {parameter.name: parameter.default for parameter in self.parameters}


def score_variables(
    name: str, meaning: str, *, better: Literal["low", "high"], units: str | None = "1", score: str | None = None
) -> tuple[Variable, Variable]:
    """The score of each endmember and the class map of the best, `<name>_score` and `<name>_class`."""
    score = score or f"{name}_score"
    best = "smallest" if better == "low" else "largest"
    return (
        Variable(score, MAP_DIMS, "float32", meaning, units, role="score", better=better, stored_share=0.9),
        Variable(
            f"{name}_class", CLASS_DIMS, "uint8", f"endmember of the {best} {meaning}", role="class", of=score,
            stored_share=0.25,
        ),
    )  # fmt: skip


def unit_vertices(inputs: Inputs) -> NDArray[np.float64]:
    """(p, r): the spectra on the basis, each of length 1."""
    vertices = inputs.vertices
    unit: NDArray[np.float64] = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    return unit


def plain_vertices(inputs: Inputs) -> NDArray[np.float64]:
    """(p, r): the spectra on the basis."""
    return inputs.vertices


class Fit(NamedTuple):
    """Endmembers (p, r) on the projection's basis, and how many wavelengths the fit is over."""

    vertices: NDArray[np.float64]
    wavelengths: int


def prepare_fit(inputs: Inputs) -> Fit:
    """What a least-squares fit of the endmembers needs."""
    return Fit(inputs.vertices, inputs.basis.shape[1])


def abundance_variables(prefix: str, meaning: str) -> tuple[Variable, Variable, Variable]:
    """Abundance of each endmember, the residual of the fit, and the class map of the largest abundance."""
    return (
        Variable(
            f"{prefix}abundance", MAP_DIMS, "float32", meaning, "1", role="fraction", limits=(0.0, 1.0),
            stored_share=0.9,
        ),
        Variable(
            f"{prefix}residual", CLASS_DIMS, "float32", "root mean square error of the unmixing fit", "1",
            role="residual", stored_share=0.95,
        ),
        Variable(
            f"{prefix or 'abundance_'}class", CLASS_DIMS, "uint8", "endmember of the largest abundance", role="class",
            of=f"{prefix}abundance", stored_share=0.25,
        ),
    )  # fmt: skip
