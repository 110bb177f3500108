"""Templates of the pages that open from disk: what they say is escaped as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsi_dask.escaping import visible_lines

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str) -> Template:
    """A template of this folder."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    settings = jinja2.Environment(loader=loader, autoescape=True, finalize=_shown, trim_blocks=True, lstrip_blocks=True)
    return settings.get_template(name)


def _shown(value: Any) -> Any:
    """What a page says, before it is escaped; settings keep their lines."""
    return value if hasattr(value, "__html__") else visible_lines(str(value))
