"""One line and an exit code for the user's mistakes; a traceback for ours."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import REPOSITORY

from imagetrail.errors import nearest

PRELUDE = f"""
import sys, time; sys.path.insert(0, {str(REPOSITORY / "src")!r})
from imagetrail.errors import DataError, guard
def main():
    {{}}
guard(main)
"""


def run(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = [sys.executable, "-c", PRELUDE.format(body)]
    return subprocess.run(code, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_user_errors_print_one_line_and_exit_with_2() -> None:
    done = run("raise DataError('no rows; add some.')")
    assert (done.returncode, done.stderr) == (2, "imagetrail: no rows; add some.\n")


def test_control_characters_are_shown_and_long_lines_cut() -> None:
    done = run("raise DataError('\\x1b[31m' + 'x' * 100_000 + '; remove it.')")
    assert done.stderr.startswith("imagetrail: \\x1b[31mxxx")
    assert done.stderr.endswith("xxx; remove it.\n")
    assert len(done.stderr) < 1500


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in run("raise DataError('x')", IMAGETRAIL_DEBUG="1").stderr


def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    """As `imagetrail predict … | head -1` does."""
    body = "[print('x' * 80) for _ in range(100_000)]"
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE.format(body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "x" * 80 + "\n"
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_internal_errors_keep_their_traceback() -> None:
    done = run("raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_cleanly(sent: signal.Signals, code: int) -> None:
    body = "print('ready', flush=True); time.sleep(30)"
    # A shell's background job, which the tests may be, hands down an ignored SIGINT.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", listening + PRELUDE.format(body)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    begin = time.monotonic()
    process.send_signal(sent)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert time.monotonic() - begin < 10


def test_nearest_ignores_case_and_lists_all_without_a_match() -> None:
    assert nearest("mnist", ["MNIST", "csv"]) == "did you mean 'MNIST'?"
    assert nearest("zzz", ["b", "a"]) == "valid names: a, b."
