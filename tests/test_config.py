"""RunConfig and its YAML: typed, frozen, and every mistake one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError
from hsi_dask.schema import MAX_ENDMEMBERS


def test_the_commented_yaml_names_every_key_and_loads_back_equal() -> None:
    config = RunConfig(
        tiles=["a b.h5", "ü/*.h5"],
        endmembers={"count": 2, "seed": 5},
        bands={"windows": [[1340, 1445], [1790.5, 1955]], "drop_last": 0},
        methods=["sid", "sam"],
        masks={"cloud": 50, "water": 0.0, "shadow": True},
        thresholds={"sam": [0.1, 0.2], "sid": 0.05},
    )
    text = config.commented_yaml()
    assert RunConfig.from_text(text) == config
    for line in text.splitlines():
        key = line.split(":")[0].strip()
        assert line.lstrip().startswith("#") or key in text
    sections = (config, config.area, config.endmembers, config.bands, config.masks, config.thresholds, config.options)
    nested = [getattr(config.options, name) for name in type(config.options).model_fields]
    assert text.count("#") == sum(len(type(section).model_fields) for section in (*sections, *nested))


def test_plain_yaml_loads_back_equal(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RunConfig(endmembers={"count": 9}).to_yaml())
    assert RunConfig.from_yaml(tmp_path / "run.yaml").endmembers.count == 9


def test_an_empty_file_and_an_empty_section_mean_defaults() -> None:
    assert RunConfig.from_text("") == RunConfig.from_text("endmembers:\n# count: 3\n") == RunConfig()


def test_the_largest_count_is_the_schemas() -> None:
    assert RunConfig(endmembers={"count": MAX_ENDMEMBERS}).endmembers.count == MAX_ENDMEMBERS


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"endmembers": {"cuont": 3}}, "unknown key endmembers.cuont; did you mean endmembers.count?"),
        ({"count": 3}, "unknown key count; did you mean endmembers.count?"),
        ({"frobnicate": 3}, "unknown key frobnicate; known keys are tiles, year, visit, mix, overlap, area"),
        ({"endmembers": {"count": 0}}, "endmembers.count is 0; it must be a whole number from 1 to 254"),
        ({"endmembers": {"count": 255}}, "endmembers.count is 255; it must be a whole number from 1 to 254"),
        ({"endmembers": {"count": True}}, "endmembers.count is True; it must be a whole number from 1 to 254"),
        ({"endmembers": {"count": "four"}}, "endmembers.count is 'four'; it must be a whole number from 1 to 254"),
        ({"endmembers": 4}, "endmembers is 4; it must be a mapping with the keys file, names, units"),
        ({"bands": {"windows": [[1445, 1340]]}}, "bands.windows is [1445, 1340]; it must be null or pairs"),
        ({"bands": {"drop_last": -1}}, "bands.drop_last is -1; it must be a whole number from 0"),
        ({"methods": []}, "methods is []; it must be at least one of fcls, nnls,"),
        ({"methods": ["sma"]}, "methods is 'sma'; it must be at least one of fcls, nnls,"),
        ({"thresholds": {"sam": [0.1]}}, "thresholds.sam has 1 numbers, endmembers.count is 4; give one number"),
        ({"thresholds": {"sam": 90}}, "thresholds.sam is 90; it must be null, one angle above 0 and up to pi/2"),
        ({"masks": {"cloud": 20}}, "masks.cloud is 20; it must be null, 10 or 50"),
        ({"masks": {"shadow": 1}}, "masks.shadow is 1; it must be true or false"),
        ({"masks": {"water": 30}}, "masks.water is 30; it must be null or a number from -1 to 1"),
        ({"masks": {"cluod": 10}}, "unknown key masks.cluod; did you mean masks.cloud?"),
        (
            {"masks": {"vegetation": 0.3, "not_vegetation": 0.3}},
            "masks.not_vegetation 0.3 and masks.vegetation 0.3 leave nothing; set one of them to null",
        ),
        ({"endmembers": {"names": ["oak"]}}, "endmembers.names is set, but endmembers.file is not; name the file"),
        ({"methods": ["fcls"], "thresholds": {"sid": 1.0}}, "thresholds.sid is set, but methods has no sid; add it"),
    ],
)
def test_a_wrong_value_is_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        RunConfig(**values)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_two_mistakes_are_both_named() -> None:
    with pytest.raises(ConfigError, match=r"endmembers.count is 0; .*; endmembers.seed is -1; "):
        RunConfig(endmembers={"count": 0, "seed": -1})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("endmembers:\n  count: [1\nbands:\n", r"run.yaml: line 3: not YAML: "),
        ("- a\n- b\n", "run.yaml: a configuration is a mapping of keys to values, not list"),
        ("x: !!python/object/apply:os.getcwd []\n", "run.yaml: line 1: not YAML: could not determine a constructor"),
        ("tiles: a.h5\n", "run.yaml: tiles is 'a.h5'; it must be a list of paths"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_its_name(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.from_yaml(tmp_path / "run.yaml")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*image.yaml: it is not UTF-8 text"):
        RunConfig.from_yaml(tmp_path / "image.yaml")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none.yaml: No such file"):
        RunConfig.from_yaml(tmp_path / "none.yaml")


def test_the_fingerprint_is_of_what_decides_the_numbers() -> None:
    config = RunConfig(tiles=["a.h5"], methods=["sid", "fcls"])
    same = RunConfig(tiles=["b.h5"], methods=["fcls", "sid"])
    other = config.replace(endmembers={"seed": 1})
    assert config.fingerprint() == same.fingerprint() != other.fingerprint()
    assert other.differences(config) == ["endmembers.seed: 1, not 0"]


def test_a_configuration_is_frozen_and_replace_keeps_the_rest() -> None:
    config = RunConfig(endmembers={"seed": 7})
    with pytest.raises(ValidationError, match="frozen"):
        config.methods = ("sam",)
    changed = config.replace(endmembers={"count": 3}, tiles=["x.h5"])
    assert (changed.endmembers.seed, changed.endmembers.count, changed.tiles) == (7, 3, ("x.h5",))
