"""Killed at any moment, the pipeline ends with the same bytes; `python -m bench.kills` does it 50 times."""

from pathlib import Path

import pytest
from clones import make_clone, run
from support import set_params

from bench import kills

pytestmark = pytest.mark.slow


def test_kills_change_no_byte(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    set_params(clone, train__epochs=2, model__widths=[4])
    run(clone, "git", "commit", "--quiet", "--all", "-m", "small")
    (clone / ".imagetrail").mkdir()
    lines = list(kills.disturb(clone, 4))
    assert lines[-1] == "the bytes of the undisturbed run after 4 kills"
