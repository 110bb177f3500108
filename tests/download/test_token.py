"""Where the token comes from, and that nothing tells it."""

from __future__ import annotations

import os

import pytest

from hsi_dask.download.token import read_token
from hsi_dask.errors import ConfigError


def test_a_token_comes_from_the_environment_or_a_private_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("secret-of-file\n")
    file.chmod(0o600)
    environment = {"NEON_TOKEN": " secret-of-environment "}
    assert read_token(None, environment).value == "secret-of-environment"
    assert read_token(file, environment).value == "secret-of-file"
    assert "secret" not in repr(read_token(file, {}))


def test_without_a_token_the_sentence_says_where_to_get_one():
    with pytest.raises(ConfigError, match=r"make one in your account at https://data.neonscience.org .* NEON_TOKEN"):
        read_token(None, {})


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    file = tmp_path / "token"
    file.write_text("secret")
    file.chmod(mode)
    with pytest.raises(ConfigError, match="nobody else can read; chmod 600") as refused:
        read_token(file, {})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [b"two words", b"", b"line\nHost: other", b"\xff\xfe", "tökén".encode()])
def test_what_is_no_token_is_refused_without_telling_it(tmp_path, text):
    file = tmp_path / "token"
    file.write_bytes(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no token") as refused:
        read_token(file, {})
    assert text.decode(errors="replace") not in str(refused.value) or not text
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "missing", {})


def test_a_folder_or_a_pipe_is_no_token_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path, {})
    os.mkdir(tmp_path / "x")
