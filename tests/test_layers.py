"""Who may import whom, read from the source: the architecture as a test."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hsi_dask

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hsi_dask"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in MODULES}

# What each folder or module may import of ours, beside itself
MAY_IMPORT = {
    "escaping": set(),
    "errors": {"escaping"},
    "schema": {"errors"},
    "yaml_text": {"errors"},
    "plugins": {"errors"},
    "parameters": {"errors"},
    "methods": {"errors", "schema", "parameters", "plugins", "kernels"},
    "extractors": {"errors", "parameters", "plugins", "kernels"},
    "counts": {"errors", "parameters", "plugins", "kernels"},
    "config": {"errors", "methods", "extractors", "counts", "parameters", "yaml_text"},
    "limits": set(),
    "cluster": {"errors", "yaml_text", "limits", "batch", "__init__"},  # of batch what a worker has to import
    "synthetic": {"errors"},
    "kernels": set(),
    "sources": set(),
    "io": {"errors", "schema", "escaping", "plugins", "sources"},
    "ops": {"errors", "schema", "kernels", "methods", "extractors", "counts", "parameters", "sources"},
    "scene": {"errors", "schema", "methods", "kernels", "io", "ops"},
    "batch": {
        "errors",
        "escaping",
        "limits",
        "schema",
        "yaml_text",
        "config",
        "methods",
        "kernels",
        "io",
        "ops",
        "scene",
        "progress",
    },
    "overviews": {"errors", "schema", "io", "batch"},
    "comparison": {"errors", "schema", "kernels", "io", "ops", "batch", "overviews"},
    "show": {
        *("errors", "escaping", "schema", "yaml_text", "kernels", "methods", "extractors", "io", "ops", "batch"),
        *("overviews", "comparison", "progress"),
    },
    "download": {"errors", "io"},
    "pace": {"batch", "errors"},
    "progress": {"batch", "escaping", "pace"},
    "cli": {
        *("errors", "escaping", "schema", "config", "yaml_text", "cluster", "synthetic", "kernels", "io", "ops"),
        *("methods", "counts", "batch", "show", "progress", "download", "__init__"),
    },
    "xarray": {"show"},
    "__main__": {"cli"},
    "__init__": {
        "errors",
        "config",
        "synthetic",
        "io",
        "ops",
        "batch",
        "comparison",
        "show",
    },  # when a name is first used
}
# Rooms of a folder, each of which may import those before it
FLOORS = {"batch": ("tiles", "state", "execution"), "config": ("sections", "text", "run")}
# Replacing one of these touches one place
HOMES = {
    "h5py": {"io", "synthetic"},
    "imagecodecs": {"io", "synthetic"},
    "zarr": {"io"},
    "pyproj": {"io"},
    "geopandas": {"io"},
    "shapely": {"io"},
    "cvxopt": {"kernels"},
    "numba": {"kernels"},
    "distributed": {"cluster", "batch"},
    "pydantic": {"download", "config", "cluster", "methods", "extractors", "counts", "parameters"},
    "yaml": {"yaml_text", "config"},
    "dask_jobqueue": {"cluster"},
    "typer": {"cli"},
    "rich": {"cli", "progress"},
    "matplotlib": {"show"},
    "jinja2": {"show"},
    "rasterio": {"show", "io"},
    "pyogrio": {"io"},
    "bokeh": {"show"},
    "sklearn": {"ops"},
}
NOT_IN_KERNELS = {"dask", "xarray", "h5py", "zarr", "distributed", "pandas"}


def layer(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path, tree=None):
    """Dotted names of everything imported anywhere in a module, for type checking too."""
    for node in ast.walk(tree or ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path):
    """Which of our layers a module imports."""
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == "hsi_dask":
            head = rest.partition(".")[0]
            known = head and ((PACKAGE / head).is_dir() or (PACKAGE / f"{head}.py").is_file())
            yield head if known else "__init__"


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_lies_below_it(path):
    allowed = MAY_IMPORT[layer(path)] | {layer(path)}
    assert set(ours(path)) <= allowed


@pytest.mark.parametrize("folder", FLOORS)
def test_rooms_of_a_folder_import_only_rooms_before_them(folder):
    order = FLOORS[folder]
    for path in (PACKAGE / folder).glob("*/*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["hsi_dask", folder] and len(parts) > 3 and parts[2] in order:
                assert order.index(parts[2]) <= order.index(path.parent.name), f"{path} imports {name}"


def dependencies(path):
    """Modules of ours that a module imports anywhere, in functions too; not those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = [ast.Pass()]
    found = {module_of(name) for name in imports(path, tree)} & set(NAMES)
    return found - {module_of(".".join(path.relative_to(ROOT).with_suffix("").parts))}


def module_of(name):
    """The module that holds a dotted name."""
    while name and name not in NAMES:
        name = name.rpartition(".")[0]
    return name


def test_no_module_imports_itself_through_others():
    graph = {name: dependencies(path) for name, path in NAMES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_library_has_one_home(path):
    used = {name.partition(".")[0] for name in imports(path)}
    assert {library for library in used if layer(path) not in HOMES.get(library, {layer(path)})} == set()


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p) == "kernels"], ids=name_of)
def test_kernels_know_neither_labels_nor_files_nor_graphs(path):
    assert {name.partition(".")[0] for name in imports(path)} & NOT_IN_KERNELS == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_prints_or_exits_and_nothing_asserts(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    if layer(path) != "cli":
        assert calls & {"print", "sys.exit", "exit", "os._exit"} == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_named_for_a_concept_and_says_what_it_is_for(path):
    assert path.stem not in {"utils", "util", "common", "helpers", "core", "misc"}
    text = path.read_text(encoding="utf-8")
    assert not text or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.py")), ids=name_of)
def test_a_workflow_uses_public_names_only_and_does_nothing_when_imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert {name for name in imports(path) if name.startswith("hsi_dask")} == {"hsi_dask"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hsi"
    }
    assert used <= set(hsi_dask.__all__)
    assert ast.unparse(tree.body[-1].test) == "__name__ == '__main__'"
    assert not [node for node in tree.body[:-1] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]


def test_every_public_name_is_there_and_is_listed():
    assert hsi_dask.__all__ == sorted(hsi_dask.__all__)
    assert set(hsi_dask.__all__) <= set(dir(hsi_dask))
    for name in hsi_dask.__all__:
        assert getattr(hsi_dask, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'unmixx'"):
        hsi_dask.unmixx  # noqa: B018


def test_type_checkers_are_told_the_names_that_are_loaded_late():
    told = {name.rpartition(".")[2] for name in imports(PACKAGE / "__init__.py") if name.startswith("hsi_dask.")}
    assert told == set(hsi_dask.__all__) - {"__version__"}


@pytest.mark.parametrize("module", ["hsi_dask", "hsi_dask.cli"])
def test_importing_is_cheap(module):
    heavy = "{'matplotlib', 'numpy', 'numba', 'xarray', 'dask', 'distributed', 'h5py', 'zarr', 'pandas', 'pydantic'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_importing_changes_nothing_and_the_first_use_of_a_function_registers_the_accessor():
    code = (
        "import sys, xarray; before = list(sys.meta_path), sys.path_hooks[:]; import hsi_dask as hsi; "
        "print((list(sys.meta_path), sys.path_hooks) == before, hasattr(xarray.Dataset, 'hsi')); hsi.open_results; "
        "print(hasattr(xarray.Dataset, 'hsi'))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["True", "False", "True"]


@pytest.mark.parametrize("path", [path for path in MODULES if layer(path) == "cli"], ids=name_of)
def test_options_of_verbs_are_of_types_that_the_oldest_typer_knows(path):
    """typer 0.16 fails for every verb if one of them has a Literal."""
    assert "Literal[" not in path.read_text(encoding="utf-8")
