"""The state of an interactive page as the query of its address: what one looks at can be kept, and sent to others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

_MOST_KEPT = 20  # spectra
_LONGEST = 16_000  # characters of a value that is looked at: twelve regions
_THRESHOLD = "t."

Place = tuple[float, float]  # x and y, metres
Outline = tuple[float, ...]  # x and y of a pixel, or of the corners of a region one after another


@dataclass(frozen=True)
class State:
    """What a page shows.

    Attributes
    ----------
    layer : key of a layer, "" for the first
    window : west, south, east and north edge, metres
    bands : wavelengths of pictures, nm: one, or red, green and blue
    mix : places of the planes that are red, green and blue
    opacity : of the layer over the picture below
    pixel : that was clicked last
    kept : pixels and regions whose spectra are kept
    thresholds : by name of class map, one for each of its scores
    """

    layer: str = ""
    window: tuple[float, float, float, float] | None = None
    bands: tuple[float, ...] = ()
    mix: tuple[int, ...] = ()
    opacity: float = 1.0
    pixel: Place | None = None
    kept: tuple[Outline, ...] = ()
    thresholds: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


def query_of(state: State) -> str:
    """The query of an address, without its question mark.

    Examples
    --------
    >>> query_of(State("sam_class", bands=(650.0,), thresholds={"sam_class": (0.1, None)}))
    'layer=sam_class&bands=650&t.sam_class=0.1,'
    """
    parts = {
        "layer": state.layer, "window": _joined(state.window or ()), "bands": _joined(state.bands),
        "mix": _joined(state.mix),
        "opacity": "" if state.opacity == 1 else f"{state.opacity:g}", "pixel": _joined(state.pixel or ()),
        "kept": ";".join(map(_joined, state.kept)),
    }  # fmt: skip
    parts |= {f"{_THRESHOLD}{name}": _joined(limits) for name, limits in state.thresholds.items()}
    return "&".join(f"{name}={quote(text, safe='/,;-.')}" for name, text in parts.items() if text)


def _joined(values: Sequence[float | None]) -> str:
    return ",".join("" if value is None else f"{value:.10g}" for value in values)


def state_of(arguments: Mapping[str, Sequence[bytes]]) -> State:
    """The state in the arguments of a request; what cannot be read is left out.

    Examples
    --------
    >>> state_of({"layer": [b"residual"], "pixel": [b"1,x"], "opacity": [b"0.5"]})
    State(layer='residual', window=None, bands=(), mix=(), opacity=0.5, pixel=None, kept=(), thresholds={})
    """
    texts = {name: values[-1][:_LONGEST].decode("utf-8", "replace") for name, values in arguments.items() if values}
    window, pixel = _numbers(texts.get("window", "")), _numbers(texts.get("pixel", ""))
    kept = [_numbers(text) for text in texts.get("kept", "").split(";")[:_MOST_KEPT]]
    opacity, bands = _numbers(texts.get("opacity", "")), _numbers(texts.get("bands", ""))
    mix = _numbers(texts.get("mix", ""))
    limits = {name[len(_THRESHOLD) :]: _limits(text) for name, text in texts.items() if name.startswith(_THRESHOLD)}
    ordered = len(window) == 4 and window[0] < window[2] and window[1] < window[3]
    return State(
        layer=texts.get("layer", ""),
        window=(window[0], window[1], window[2], window[3]) if ordered else None,
        bands=tuple(bands) if len(bands) in (1, 3) else (),
        mix=tuple(map(int, mix)) if len(mix) == 3 else (),
        opacity=min(max(opacity[0], 0.0), 1.0) if len(opacity) == 1 else 1.0,
        pixel=(pixel[0], pixel[1]) if len(pixel) == 2 else None,
        kept=tuple(tuple(one) for one in kept if len(one) == 2 or (len(one) >= 6 and len(one) % 2 == 0)),
        thresholds={name: values for name, values in limits.items() if values},
    )


def _numbers(text: str) -> list[float]:
    """Finite numbers with commas between; none where one is something else."""
    try:
        values = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def _limits(text: str) -> tuple[float | None, ...]:
    """Numbers, or nothing, with commas between."""
    found = [(part, _numbers(part)) for part in text.split(",")]
    if any(part and not numbers for part, numbers in found):
        return ()
    return tuple(numbers[0] if numbers else None for _, numbers in found)
