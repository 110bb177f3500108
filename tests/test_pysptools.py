"""The table of pysptools against what pysptools has: every public name is in it, and what it names here exists."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import hsi_dask

TABLE = (Path(__file__).parents[1] / "docs" / "pysptools.md").read_text(encoding="utf-8")
MODULES = (
    *("eea", "abundance_maps", "classification", "detection", "material_count", "noise", "distance", "spectro"),
    *("skl", "util"),
)


def public_names(module):
    spec = find_spec("pysptools")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pysptools is not installed")
    source = (Path(spec.submodule_search_locations[0]) / module / "__init__.py").read_text(encoding="utf-8-sig")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if not alias.name.startswith("_"))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_table(module):
    section = TABLE.partition(f"\n## {module}\n")[2].partition("\n## ")[0]
    left_out = {"whiten", "classify", "simple_decorator"}  # functions that classes of the table call
    missing = {name for name in public_names(module) if f"`{name}`" not in section} - left_out
    assert {name for name in missing if not (name.startswith("Hyper") and name.endswith("Classifier"))} == set()


def test_every_function_that_it_names_here_exists():
    calls = set(re.findall(r"`(\w+)\((?:cube|pixels|path)", TABLE))
    assert len(calls) > 10
    assert calls <= set(hsi_dask.__all__)
