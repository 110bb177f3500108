"""How long a run waits for what does not answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Waiting times of a run, in seconds.

    Attributes
    ----------
    patience : without any worker for so long a run ends; long enough for a nanny to restart one, or a queue to start a
        job
    stuck : a tile in which nothing moves for so long is taken from its worker, which is restarted; a busy file system
        makes tiles slow, but something in them moves

    Examples
    --------
    >>> Limits(stuck=60.0)
    Limits(patience=300.0, stuck=60.0)
    """

    patience: float = 300.0
    stuck: float = 600.0
