"""Run programs of the environment with their output visible."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from imagetrail.errors import ImagetrailError


def run(
    root: Path,
    module: str,
    *arguments: str,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> None:
    """Run `python -m MODULE ARGUMENTS`; its output passes through.

    Args:
        root: folder to run in.
        module: such as `dvc`.
        arguments: of the program.
        python: the interpreter.
        environment: variables of the process; None inherits ours.
        quiet: whether to hide its stdout. DVC's own --quiet would also hide its errors.

    Raises:
        ImagetrailError: it ended with a code other than 0.
    """
    output = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen([python, "-m", module, *arguments], cwd=root, env=environment, stdout=output)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the child got the signal too, and cleans up
        raise
    except SystemExit:  # SIGTERM was sent to us only
        process.terminate()
        process.wait()
        raise
    if code:
        shown = " ".join([module, *arguments[:1]])
        raise ImagetrailError(f"`{shown}` ended with {code}; see its own message above.")
