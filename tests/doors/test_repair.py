"""What a killed DVC leaves half written is repaired before the next one starts."""

from pathlib import Path

import pytest
from support import REPOSITORY, git

from imagetrail.doors import repair

WHOLE = (REPOSITORY / "dvc.lock").read_text()
HALF = WHOLE[: WHOLE.index("md5", WHOLE.index("preprocess:")) - 20]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a commit of dvc.lock."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "dvc.lock").write_text(WHOLE)
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@test", "commit", "--quiet", "-m", "lock")
    return tmp_path


def test_whole_files_are_left_alone(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / ".dvc/tmp").mkdir(parents=True)
    (checkout / ".dvc/tmp/rwlock").write_text("{}")
    repair.before_dvc(checkout)
    assert (checkout / "dvc.lock").read_text() == WHOLE
    assert (checkout / ".dvc/tmp/rwlock").is_file()
    (checkout / "dvc.lock").unlink()
    repair.before_dvc(checkout)
    assert not (checkout / "dvc.lock").exists(), "before the first `dvc repro` there is none"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["", '{"data/raw": {"wri'])
def test_a_half_written_rwlock_is_removed(
    checkout: Path, content: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repair, "WRITING", 0)
    (checkout / ".dvc/tmp").mkdir(parents=True)
    (checkout / ".dvc/tmp/rwlock").write_text(content)
    repair.before_dvc(checkout)
    assert not (checkout / ".dvc/tmp/rwlock").exists()
    assert "rwlock was half written by a killed process; it is removed" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", HALF, "stages: [", "schema: '2.0'\n"], ids=range(4))
def test_a_half_written_lock_is_replaced(checkout: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    later = WHOLE.replace("stages:", "# later\nstages:")
    (checkout / "dvc.lock").write_text(content)
    repair.before_dvc(checkout)
    assert (checkout / "dvc.lock").read_text() == WHOLE
    assert "it is replaced by the committed one" in capsys.readouterr().err
    (checkout / "dvc.lock").write_text(later)
    repair.after_dvc(checkout)
    (checkout / "dvc.lock").write_text(content)
    repair.before_dvc(checkout)
    assert (checkout / "dvc.lock").read_text() == later
    assert "it is replaced by the last complete one" in capsys.readouterr().err


def test_a_half_written_lock_without_git_makes_every_stage_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dvc.lock").write_text(HALF)
    repair.before_dvc(tmp_path)
    assert not (tmp_path / "dvc.lock").exists()
    assert "it is removed, so every stage runs" in capsys.readouterr().err
