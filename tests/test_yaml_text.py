"""Reading YAML within bounds; PyYAML itself is the oracle of what is read."""

import random
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hsi_dask.errors import ConfigError
from hsi_dask.yaml_text import MAX_CHARACTERS, MAX_DEPTH, joined, load, load_file, shortened, unknown_key

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
BOMB = "\n".join(
    f"{name}: &{name} [{', '.join(['lol' if name == 'a' else f'*{before}'] * 10)}]"
    for before, name in zip("`abcdefgh", "abcdefghi", strict=True)
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_what_json_can_hold_is_read_as_pyyaml_reads_it(values):
    text = yaml.safe_dump(values, allow_unicode=True)
    assert load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "value"), [("", {}), ("# nothing\n", {}), ("1: 2", {"1": 2}), ("a: 2019-07-11", {"a": "2019-07-11"})]
)
def test_keys_and_dates_are_text_and_an_empty_text_is_an_empty_mapping(text, value):
    assert load(text) == value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BOMB + "\ntiles: *i\n", "line 1: &a is an anchor, and aliases are not read"),
        ("a: *b\n", r"line 1: \*b is an alias"),
        ("a: &a [*a]\n", "line 1: &a is an anchor"),
        ("a:\n  " + "[" * 500, "line 2: (more than 20 levels|not YAML)"),
        ("a:\n  " + "{a: " * MAX_DEPTH + "1" + "}" * MAX_DEPTH, "line 2: more than 20 levels of lists and mappings"),
        ("a: " + "x" * MAX_CHARACTERS, "a configuration of more than 1000000 characters is not read"),
        ("a: " + "1:" * 400_000 + "1", "line 1: not YAML: a number of 800001 characters"),
        ("a: 0x" + "f" * 1000, "line 1: not YAML: a number of 1002 characters"),
        ("a: !!bool x", "line 1: not YAML: 'x' is no bool"),
        ("a: !!int ''", "line 1: not YAML: '' is no int"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: not YAML: could not determine a constructor"),
        ("a: !!timestamp []", "line 1: not YAML: expected a scalar node"),
        ("b: 1\na: !!binary aGk=", "line 2: not YAML: could not determine a constructor"),
        ("? [a]\n: 1", "line 1: not YAML: found unhashable key"),
        ("a: 1\n---\nb: 2\n", "line 2: not YAML: .*another document"),
        ("a: \x07", "not YAML: .*control characters are not allowed|not YAML: special characters are not allowed"),
        ("a: \ud800", "not YAML"),
        ("- a", "a configuration is a mapping of keys to values, not list"),
    ],
)
def test_what_is_not_read_is_one_sentence(text, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        load(text)
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()


def test_mutations_of_a_configuration_are_read_or_one_sentence():
    text = "kind: local\nwait: 60.5\noptions: {n_workers: 2, x: [1, .5, 'a', \"b\"]}\nb: !!str |\n  text\n? c\n: ~\n"
    draw, pieces = random.Random(1), ["&a ", "*a", "[", "{", "!!int ", "\n", "\t", "'", "<<: ", "0x", "1:2:3", "\u2028"]
    for _ in range(3000):
        at = draw.randrange(len(text))
        piece = draw.choice(pieces) if draw.random() < 0.5 else chr(draw.randrange(0x300))
        mutated = text[:at] + piece + text[at + draw.randrange(3) :]
        try:
            said = str(load(mutated))
        except ConfigError as error:
            said = str(error)
        assert "\n" not in said


def test_a_file_without_end_is_read_no_further_than_the_bound(tmp_path):
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"^/dev/zero: a configuration of more than 1000000 characters"):
        load_file("/dev/zero")
    assert time.monotonic() - started < 30
    with pytest.raises(ConfigError, match=r"cannot read the cluster file .*no.yaml: No such file"):
        load_file(tmp_path / "no.yaml", "the cluster file")


# ------------------------------------------------------------------------------------------------ sentences


@given(VALUES, st.integers(20, 100))
def test_a_quoted_value_is_short_and_printable_and_whole_where_there_is_room(value, most):
    text = shortened(value, most)
    assert len(text) <= most
    assert text.isprintable()
    if not isinstance(value, dict | list) and len(repr(value)) <= most - 2:
        assert text == repr(value)


def test_values_that_would_take_long_to_write_are_shortened_at_once():
    bomb = ["lol"] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    assert shortened(bomb).endswith("...")
    assert shortened(10**6000) == "int too long to write"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cuont", "unknown key x.cuont; did you mean x.count?"),
        ("size", "unknown key x.size; did you mean y.size?"),
        ("nothing", "unknown key x.nothing; known keys are x.count, x.seed"),
        ("\x1b[31m", r"unknown key x.'\x1b[31m'; known keys are x.count, x.seed"),
    ],
)
def test_an_unknown_key_is_told_with_what_was_meant(name, sentence):
    assert unknown_key(name, ["count", "seed"], "x.", ["y.size"]) == sentence
    assert len(unknown_key("k" * 10**6, ["count"])) < 200


def test_of_many_sentences_the_first_are_told():
    assert joined(f"a is {i}" for i in range(9)) == "a is 0; a is 1; a is 2; a is 3; a is 4; and 4 more"
