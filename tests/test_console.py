"""Progress: a bar at a terminal, lines elsewhere."""

import fcntl
import os
import struct
import subprocess
import sys
import termios
from itertools import count

import pytest
from support import REPOSITORY

from imagetrail import console


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second at each look."""
    ticks = count()
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(ticks)))


def test_lines_tell_share_amount_time_left_and_state(seconds: None, capsys: pytest.CaptureFixture[str]) -> None:
    with console.bar("train", total=1000, unit="image") as bar:
        for epoch in range(10):
            bar.set_postfix_str(f"epoch {epoch}/10")
            for _ in range(4):
                bar.update(25)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "imagetrail: train: 25%, 250 of 1,000 images, 00:30 left; epoch 2/10",
        "imagetrail: train: 50%, 500 of 1,000 images, 00:20 left; epoch 4/10",
        "imagetrail: train: 75%, 750 of 1,000 images, 00:10 left; epoch 7/10",
    ]


def test_a_resumed_work_counts_its_own_speed(seconds: None, capsys: pytest.CaptureFixture[str]) -> None:
    with console.bar("train", total=1000, unit="image", done=900) as bar:
        for _ in range(10):
            bar.update(5)
    assert capsys.readouterr().err == "imagetrail: train: 95%, 950 of 1,000 images, 00:10 left\n"


def test_bytes_of_unknown_number_have_no_share(seconds: None, capsys: pytest.CaptureFixture[str]) -> None:
    list(console.progress(range(9), total=None, description="list", unit="file"))
    with console.bar("download", total=None, unit="B") as bar:
        for _ in range(10):
            bar.update(2**20)
    with console.bar("hidden", total=None, unit="B", hidden=True) as bar:
        for _ in range(99):
            bar.update(1)
    assert capsys.readouterr().err == "imagetrail: download: 10.0MB\n"


def test_a_terminal_gets_a_bar() -> None:
    code = (
        "from imagetrail import console\nfor _ in console.progress(range(9), total=9, description='d', unit='x'): pass"
    )
    primary, secondary = os.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run([sys.executable, "-c", code], stderr=secondary, env=environment, check=True)
    os.close(secondary)
    assert "9.00/9.00" in os.read(primary, 10000).decode()
