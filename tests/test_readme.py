"""The README against the program: its code runs, its commands exist, its data model is the schema's."""

import re
import subprocess
import sys
from pathlib import Path

from hsi_dask.methods import registry
from hsi_dask.schema import VARIABLES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def help_of(*words):
    shown = subprocess.run(
        [sys.executable, "-m", "hsi_dask", *words, "--help"], capture_output=True, check=True, text=True
    )
    return shown.stdout


def test_the_quickstart_runs_as_it_stands(tmp_path):
    code = tmp_path / "quickstart.py"
    code.write_text("\n".join(blocks("python")))
    words = [sys.executable, "-W", "error", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "EPSG:32618 uint8" in done.stdout
    assert (tmp_path / "my-run" / "records").is_dir()


def test_every_command_and_option_it_names_exists():
    verbs = set(re.findall(r"hsi-dask (?!--)([a-z]+)", README))
    assert verbs == set(re.findall(r"^  (\w+)  ", help_of().partition("Commands:")[2], re.MULTILINE))
    options = set(re.findall(r"(?<!-)--[a-z][a-z-]+", README)) - {"--version"}
    helps = "".join(help_of(verb) for verb in sorted(verbs)) + help_of("cluster", "check")
    assert options <= set(re.findall(r"--[a-z-]+", helps))


def test_the_data_model_is_the_schemas_and_the_methods():
    known = dict(VARIABLES)
    for name in ("mesma", "cover", "sid", "sam", "fcls"):  # residual: fcls
        known |= {variable.name: variable for variable in registry.method(name).variables}
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([a-z, ]+) \| (\w+) \|", README, re.MULTILINE)
    told = {name: (dims, dtype) for names, dims, dtype in rows for name in re.findall(r"\w+", names)}
    assert told == {name: (", ".join(v.dims), v.dtype) for name, v in known.items() if name in told}
    assert set(known) - set(told) <= {"quality"}


def test_every_method_it_names_and_no_other_is_there():
    told = re.findall(r"\b(\w+)`", README.partition("**Methods.**")[2].partition("On mixtures simulated")[0])
    assert set(registry.names()) <= set(told)


def test_every_file_it_names_is_there():
    root = Path(__file__).parents[1]
    for name in re.findall(r"[`(]((?:workflows|cluster_configs|\.ci|LICENSE)[\w./]*)[`)]", README):
        assert (root / name).exists(), name
