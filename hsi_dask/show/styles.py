"""How QGIS draws an exported map: a style in a .qml file beside it, which QGIS takes without being asked.

By itself QGIS lists all 256 entries of a GeoTIFF's colour table, and mixes the first three bands of a map to a picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsi_dask.escaping import xml_attribute

_STOPS = 17  # of a colour ramp; between them QGIS interpolates


def categories_style(legend: Mapping[int, str], colours: NDArray[np.uint8]) -> str:
    """A style for values with names: `legend` by value, in the `colours` (256, 4) RGBA of all; no entry for clear ones.

    Examples
    --------
    >>> print(categories_style({1: "water"}, np.full((256, 4), 255, np.uint8)).splitlines()[4])
    <paletteEntry value="1" label="water" color="#ffffff" alpha="255"/>
    """
    entries = (
        f'<paletteEntry value="{value}" label={xml_attribute(text)} color="{_hex(colours[value])}" alpha="255"/>'
        for value, text in legend.items()
        if colours[value, 3]
    )
    return _style("paletted", "", "<colorPalette>", *entries, "</colorPalette>")


def ramp_style(cmap: str, low: float, high: float) -> str:
    """A style for numbers: the first band in the colours of a matplotlib map from `low` to `high`.

    Examples
    --------
    >>> print(ramp_style("viridis", 0, 1).splitlines()[4])
    <item value="0" label="0" color="#440154" alpha="255"/>
    """
    from matplotlib import colormaps

    values, colours = np.linspace(low, high, _STOPS), colormaps[cmap](np.linspace(0, 1, _STOPS), bytes=True)
    items = (
        f'<item value="{value:.9g}" label="{value:.3g}" color="{_hex(colour)}" alpha="255"/>'
        for value, colour in zip(values, colours, strict=True)
    )
    limits = f'classificationMin="{low:.9g}" classificationMax="{high:.9g}"'
    shader = f'<rastershader><colorrampshader colorRampType="INTERPOLATED" classificationMode="1" {limits}>'
    return _style("singlebandpseudocolor", limits, shader, *items, "</colorrampshader></rastershader>")


def _style(kind: str, more: str, *content: str) -> str:
    return "\n".join([
        '<qgis version="3.22" styleCategories="Symbology">', "<pipe>",
        f'<rasterrenderer type="{kind}" band="1" opacity="1" alphaBand="-1" {more}>'.replace(" >", ">"),
        *content, "</rasterrenderer>", "</pipe>", "</qgis>", "",
    ])  # fmt: skip


def _hex(colour: NDArray[np.uint8]) -> str:
    return "#" + bytes(colour[:3]).hex()
