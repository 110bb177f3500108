"""How foreign text is shown: one rule of escaping for each kind of output.

Names of files, folders, sites and spectra may hold anything. They are drawn as they are and obeyed nowhere: a terminal
gets no control character, XML and HTML no markup, a spreadsheet no formula. HTML is escaped by jinja2 or `html.escape`
after `visible`.
"""

from __future__ import annotations

import re
import unicodedata
from xml.sax import saxutils

_JOINERS = "\u200c\u200d"  # scripts and emoji need them, and they do nothing else
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # what a spreadsheet takes for the beginning of one
# Where ; separates the cells of a spreadsheet's language, one begins behind it, whatever quotes are around
_SECOND = re.compile(rf";(?=\s*[{re.escape(''.join(FORMULA))}])")


def visible(text: object) -> str:
    r"""Text on one line: control characters, line breaks, marks of direction and lone surrogates become escapes.

    Examples
    --------
    >>> print(visible("Straße\x1b[2J\nfake line"))
    Straße\x1b[2J\nfake line
    """
    return _escaped(str(text), "")


def visible_lines(text: str) -> str:
    """As `visible`, but line breaks and tabs stay."""
    return _escaped(text, "\n\t")


def _escaped(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if _is_shown(one) or one in kept else one.encode("unicode_escape").decode() for one in text)


def _is_shown(one: str) -> bool:
    return one.isprintable() or one in _JOINERS or unicodedata.category(one) == "Zs"


def xml_text(text: object) -> str:
    """Between XML tags."""
    return saxutils.escape(visible(text))


def xml_attribute(text: object) -> str:
    """The value of an XML attribute, with its quotes."""
    return saxutils.quoteattr(visible(text))


def csv_cell(text: object) -> str:
    """Text in a table: an apostrophe goes before what a spreadsheet would compute.

    Examples
    --------
    >>> csv_cell('=HYPERLINK("http://x")'), csv_cell("soil"), csv_cell("oak;=1+1")
    ('\\'=HYPERLINK("http://x")', 'soil', "oak;'=1+1")
    """
    shown = _SECOND.sub(";'", visible(text))
    return f"'{shown}" if shown.lstrip().startswith(FORMULA) else shown
