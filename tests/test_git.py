"""The patch of a run applies whatever the user's git settings are."""

from pathlib import Path

import pytest
from support import git

from imagetrail.files import artifacts
from imagetrail.git import read_state

SETTINGS = {
    "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true",
    "diff.external": "false",
    "diff.renames": "copies",
    "color.ui": "always",
    "core.quotePath": "false",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "größe.py").write_text("a = 1\n" * 20)
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@test", "commit", "--quiet", "-m", "first")
    return tmp_path


@pytest.mark.parametrize("setting", SETTINGS)
def test_patches_do_not_depend_on_the_users_settings(checkout: Path, setting: str) -> None:
    git(checkout, "config", setting, SETTINGS[setting])
    changed = "a = 1\n" * 19 + "a = 2\n"
    (checkout / "größe.py").write_text(changed)
    state = read_state(checkout)
    assert state is not None
    (checkout / "changes.patch").write_text(state.patch)
    git(checkout, "checkout", "--quiet", "größe.py")
    git(checkout, "apply", "changes.patch")
    assert (checkout / "größe.py").read_text() == changed
    assert list(state.changed) == ["größe.py"]


def test_a_folder_of_a_larger_repository_has_a_state(checkout: Path) -> None:
    inner = checkout / "inner"
    inner.mkdir()
    (inner / "new.py").write_text("b = 1\n")
    state = read_state(inner)
    assert state is not None
    assert [path.as_posix() for path in state.untracked] == ["new.py"]
    assert state.changed == {"new.py": artifacts.file_sha256(inner / "new.py")}


def test_an_unreadable_file_does_not_stop_a_training(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root can read every file, so reading fails by hand."""

    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    (checkout / "secret.bin").write_bytes(b"x")
    monkeypatch.setattr(artifacts, "file_sha256", refused)
    state = read_state(checkout)
    assert state is not None
    assert state.changed == {"secret.bin": "unreadable: Permission denied"}


def test_a_repository_inside_is_known_by_its_commit(checkout: Path) -> None:
    """git lists it as one name, and not its files."""
    git(checkout, "init", "--quiet", "inner")
    assert read_state(checkout).changed == {"inner/": "repository at no commit"}
    git(checkout / "inner", "-c", "user.name=a", "-c", "user.email=a@test", "commit", "--allow-empty", "-qm", "first")
    commit = git(checkout / "inner", "rev-parse", "HEAD").strip()
    assert read_state(checkout).changed == {"inner/": f"repository at {commit}"}
