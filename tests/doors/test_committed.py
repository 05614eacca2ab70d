"""What `make repro` says of the committed figures."""

from pathlib import Path

import pytest
from support import git

from imagetrail.doors import committed

LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: python -m stages.train
    deps:
    - {path: data/split, md5: aa}
    - {path: src, md5: cc}
    params: {params.yaml: {train: {seed: 0}}}
    outs:
    - {path: metrics/train.json, md5: m1}
    - {path: models, md5: m2}
  evaluate:
    cmd: python -m stages.evaluate
    deps:
    - {path: models, md5: m2}
    outs:
    - {path: metrics/test.json, md5: t1}
"""
EQUAL = "every output equals the commit's, to the last bit"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "dvc.lock").write_text(LOCK)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "lock")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("", "", EQUAL),
        ("t1", "t2", "metrics/test.json differs from the commit's"),
        ("m2", "m3", "models differs from the commit's"),
        ("m1", "n1", "metrics/train.json differs from the commit's"),
        ("md5: m", "md5: n", "2 outputs differ from the commit's, metrics/train.json first"),
        ("cc", "dd", None),
        ("seed: 0", "seed: 1", None),
    ],
)
def test_the_verdict(checkout: Path, old: str, new: str, verdict: str | None) -> None:
    (checkout / "dvc.lock").write_text(LOCK.replace(old, new) if old else LOCK)
    assert committed.verdict(checkout) == verdict


def test_there_is_no_verdict_without_a_committed_lock(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert committed.verdict(tmp_path) is None
