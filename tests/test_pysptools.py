"""The table of pysptools' classes against what its packages export, read from its sources where it is installed."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[1] / "docs" / "pysptools.md").read_text(encoding="utf-8")
SECTIONS = {"eea", "abundance_maps", "classification", "detection", "material_count", "noise", "distance", "spectro"}
INTERNAL = {"simple_decorator", "whiten", "get_scaled_img_and_class_map", "plot_img", "display_img", "concat_ROIs"}
INTERNAL |= {"load_shrink_and_scale_img", "load_reduce_and_scale"}


def exported(package):
    """Public names that a package imports from its own modules."""
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8-sig"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {name.name for node in found for name in node.names if not name.name.startswith("_")}


def test_every_package_has_a_section():
    titles = set(re.findall(r"^## (.+)$", DOCUMENT, flags=re.MULTILINE))
    assert titles >= SECTIONS | {"skl", "util", "ml and sigproc"}


def test_every_public_name_of_pysptools_is_in_the_table():
    found = find_spec("pysptools")
    if found is None or found.origin is None:
        pytest.skip("pysptools is not installed")
    packages = [folder for folder in Path(found.origin).parent.iterdir() if (folder / "__init__.py").is_file()]
    names = set().union(*(exported(folder) for folder in packages if folder.name != "tests"))
    assert len(names) > 60
    known = set(re.findall(r"`(\w+)`", DOCUMENT))
    assert names - known - INTERNAL == set()
