"""Two methods of another package: a similarity where larger is better, and a fraction with its uncertainty."""

from typing import Annotated

import numpy as np
from pydantic import Field

from hsi_dask.methods.specification import Method, plain_vertices, score_variables, unit_vertices
from hsi_dask.parameters import Parameter
from hsi_dask.schema import CLASS_DIMS, MAP_DIMS, Variable


def _cosine(unit, sums):
    return {"cosine_score": unit @ sums.projections / np.sqrt(sums.energy)}


COSINE = Method(
    name="cosine",
    kind="similarity",
    title="Cosine",
    source="an example",
    variables=score_variables("cosine", "cosine of the spectral angle", better="high"),
    prepare=unit_vertices,
    finish=_cosine,
    threshold=Parameter(
        "cosine", Annotated[float, Field(gt=0, le=1)], None,
        "null, one number above 0 and up to 1, or one per endmember", "cosine below which a pixel is of no endmember",
    ),
)  # fmt: skip


def _nearest(vertices, sums):
    """All of a pixel is of the spectrum whose distance is smallest; the margin to the next is the uncertainty."""
    distance = ((sums.projections[None] - vertices[..., None]) ** 2).sum(axis=1)
    order = np.sort(distance, axis=0)
    share = (distance == order[0]).astype(np.float32)
    unsure = order[0] / np.maximum(order[min(1, len(order) - 1)], 1e-12)
    share[:, np.isnan(sums.energy)] = np.nan
    return {"nearest_fraction": share, "nearest_std": np.broadcast_to(unsure, share.shape)}


NEAREST = Method(
    name="nearest",
    kind="mixture",
    title="Nearest spectrum",
    source="an example",
    variables=(
        Variable("nearest_fraction", MAP_DIMS, "float32", "whether it is the nearest", "1", role="fraction",
                 limits=(0.0, 1.0)),
        Variable("nearest_std", MAP_DIMS, "float32", "how unsure that is", "1", role="uncertainty",
                 of="nearest_fraction"),
        Variable("nearest_class", CLASS_DIMS, "uint8", "endmember of the nearest spectrum", role="class",
                 of="nearest_fraction"),
    ),
    prepare=plain_vertices,
    finish=_nearest,
    parameters=(Parameter("power", int, 2, "a whole number", "not used"),),
)  # fmt: skip
