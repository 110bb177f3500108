"""Histograms as SVG text: a page may hold one of every endmember, and matplotlib takes half a second for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hsi_dask.escaping import xml_text
from hsi_dask.show.figures import share_text
from hsi_dask.show.frames import Picture, encoded
from hsi_dask.show.palettes import ramp_table

_WIDE, _TALL = 370.0, 120.0  # CSS pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 8.0, 32.0
_LOW, _HIGH = 0.01, 150.0  # % of pixels that the logarithmic axis shows
_FONT = 'font-family="system-ui, DejaVu Sans, sans-serif" font-size="10.5"'


def histogram(counts: Sequence[int], label: str, ramp: str, mean: float, width: float) -> Picture:
    """Shares of pixels by a fraction from 0 to 1, on a logarithmic axis, in the colours of maps; a line at the mean."""
    right, bottom = _WIDE - _RIGHT, _TALL - _BOTTOM
    across, down = (right - _LEFT), (bottom - _TOP)
    colours = ramp_table(ramp)[np.linspace(0, 255, max(len(counts), 2)).round().astype(int)]
    shares = 100 * np.array(counts, np.float64) / max(sum(counts), 1)

    def y(share: float) -> float:
        part = np.log(max(share, _LOW) / _LOW) / np.log(_HIGH / _LOW)
        return float(bottom - down * min(part, 1.0))

    step = across / max(len(counts), 1)
    bars = (
        f'<rect x="{_LEFT + n * step:.1f}" y="{y(share):.1f}" width="{step + 0.2:.1f}" height="{bottom - y(share):.1f}"'
        ' fill="#{:02x}{:02x}{:02x}"/>'.format(*colours[n])
        for n, share in enumerate(shares.tolist())
        if share > _LOW
    )
    ticks = [f'<text x="{_LEFT - 6}" y="{y(s) + 4:.1f}" text-anchor="end">{s:g}</text>' for s in (0.01, 1, 100)]
    ticks += [
        f'<text x="{_LEFT + across * n / 5:.1f}" y="{bottom + 14}" text-anchor="middle">{n / 5:.1f}</text>'
        for n in range(6)
    ]
    middle = f"rotate(-90) translate({-(_TOP + bottom) / 2:.1f} 10)"
    words = [
        f'<text x="{(_LEFT + right) / 2:.1f}" y="{_TALL - 4}" text-anchor="middle">{xml_text(label)}</text>',
        f'<text transform="{middle}" text-anchor="middle">% of pixels</text>',
    ]
    axes = f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#999"/>'
    text = "".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE:g} {_TALL:g}" width="{_WIDE:g}" '
        f'height="{_TALL:g}" {_FONT} fill="#555">', *bars, axes, *ticks, *words, _mean(mean, bottom, across), "</svg>",
    ])  # fmt: skip
    return encoded("svg+xml", text.encode(), width)


def _mean(mean: float, bottom: float, across: float) -> str:
    if not np.isfinite(mean):
        return ""
    x, after = _LEFT + across * mean, mean < 0.5
    return (
        f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#222" stroke-dasharray="4 3" stroke-width="1.3"/>'
        f'<text x="{x + (5 if after else -5):.1f}" y="{_TOP + 9}" fill="#222" stroke="#fff" stroke-width="3" '
        f'paint-order="stroke" text-anchor="{"start" if after else "end"}">mean {share_text(mean)}</text>'
    )
