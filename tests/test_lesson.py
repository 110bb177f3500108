"""The lesson's notebook, executed as its readers do, and the calls that its table names."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

import hsi_dask as hsi
import hsi_dask.xarray

LESSON = Path(__file__).parents[1] / "workflows" / "lesson.ipynb"
# In a process of its own: what Jupyter's libraries warn of is not about ours
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(notebook, sys.argv[2] + "/executed.ipynb")
"""


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesson")
    words = [sys.executable, "-c", EXECUTE, str(LESSON), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return cells(folder / "executed.ipynb", "code")


def told(executed):
    outputs = [output for cell in executed for output in cell["outputs"]]
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    return "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")


def test_every_step_runs_and_draws(executed):
    pictures = [o for cell in executed for o in cell["outputs"] if "image/png" in o.get("data", {})]
    assert len(pictures) == 11
    assert all(cell["execution_count"] for cell in executed)


def test_it_tells_what_the_lesson_is_about(executed):
    text = told(executed)
    means = [float(mean) for mean in re.findall(r"mean abundance ([\d.]+)", text)]
    assert len(means) == 4
    assert sum(means) == pytest.approx(1, abs=0.003)
    relative, absolute = (float(share) for share in re.findall(r": ([\d.]+)% of the corner's pixels", text))
    assert absolute == 0 < relative  # a fraction of a range depends on the crop
    agreement = re.search(r"agree on ([\d.]+)%", text)
    assert float(agreement[1]) > 95
    assert "3 tiles were done before, 1 is done now" in text
    unclassified = [float(share) for share in re.findall(r"degrees +0: +([\d.]+)%", text)]
    assert unclassified == sorted(unclassified, reverse=True)


def test_the_repository_holds_no_outputs():
    for cell in cells(LESSON, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_the_table_maps_the_old_calls_to_names_that_exist():
    text = "".join("".join(cell["source"]) for cell in cells(LESSON, "markdown"))
    table = text[text.index("## From pysptools") :]
    for old in ("NFINDR", "FCLS", "SID", "SAM", "normalize=True", "display", "threshold", "get_single_map"):
        assert old in table
    assert set(re.findall(r"(?<!\.)hsi\.(\w+)\(", text)) <= set(hsi.__all__)
    accessor = re.findall(r"\.hsi\.(\w+)\(", text + "".join("".join(c["source"]) for c in cells(LESSON, "code")))

    assert all(hasattr(xr.DataArray.hsi, name) for name in accessor)
