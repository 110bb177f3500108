"""Folders and files in scratch that another user may have made or linked first."""

import os
import stat

import pytest

from hsi_dask.cluster.private_files import create_file, is_private, private_folder, shared_folder
from hsi_dask.errors import ClusterError, ConfigError

OTHER = 65534  # nobody
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user would have made")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_folder_is_made_for_its_user_alone_and_found_again(tmp_path):
    folder = private_folder(tmp_path / "a/b", "options.x")
    assert mode(folder) == 0o700
    assert is_private(folder)
    assert private_folder(folder, "options.x") == folder


def test_a_link_of_ones_own_is_followed_and_is_not_private(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert private_folder(tmp_path / "link", "options.x") == tmp_path / "link"
    assert not is_private(tmp_path / "link")


@needs_root
def test_a_folder_or_a_link_of_another_user_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.chown(tmp_path / "folder", OTHER, OTHER)
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    os.lchown(tmp_path / "link", OTHER, OTHER)
    (tmp_path / "to-theirs").symlink_to(tmp_path / "folder")
    for name, kind in (("folder", "folder"), ("link", "link"), ("to-theirs", "folder")):
        with pytest.raises(ConfigError, match=rf"{name} is a {kind} of another user \(id 65534\); set options.x"):
            private_folder(tmp_path / name, "options.x")
        assert not is_private(tmp_path / name)


@pytest.mark.parametrize("bits", [0o720, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, bits):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs").chmod(bits)
    with pytest.raises(ConfigError, match=rf"jobs can be written by others \(mode {bits:04o}\); chmod go-w it"):
        private_folder(tmp_path / "jobs", "options.x")


def test_where_everybody_can_replace_what_is_there_nothing_is_put(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o777)
    for make in (lambda: shared_folder(tmp_path / "scratch", "options.x"),
                 lambda: private_folder(tmp_path / "scratch/own", "options.x")):  # fmt: skip
        with pytest.raises(ConfigError, match=r"in .*scratch everybody can replace files .*; chmod o-w it, or set"):
            make()
    (tmp_path / "scratch").chmod(0o1777)
    assert shared_folder(tmp_path / "scratch", "options.x") == tmp_path / "scratch"
    assert mode(private_folder(tmp_path / "scratch/new", "options.x")) == 0o700


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(ConfigError, match=r"file.* cannot be made \(.*\); set options.x to another"):
            private_folder(path, "options.x")


@pytest.mark.parametrize("planted", ["file", "link", "dangling", "fifo"])
def test_a_new_file_takes_the_place_of_nothing_and_follows_no_link(tmp_path, planted):
    path, victim = tmp_path / "job.sh", tmp_path / "victim"
    victim.write_text("precious")
    match planted:
        case "file":
            path.write_text("theirs")
        case "link":
            path.symlink_to(victim)
        case "dangling":
            path.symlink_to(tmp_path / "made")
        case "fifo":
            os.mkfifo(path)
    with pytest.raises(ClusterError, match=r"job.sh cannot be written: File exists"):
        create_file(path, "mine")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "made").exists()


def test_a_new_file_is_its_users_alone(tmp_path):
    create_file(tmp_path / "a", "text é")
    create_file(tmp_path / "b", "", 0o700)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "text é"
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o600, 0o700)
