"""Exceptions and error reporting.

ImagetrailError           one sentence: the name, the value, the fix
├── ParamsError           params.yaml, an override or a recipe
├── DataError             the user's table, images or labels
├── ArtifactError         a file that a stage reads or writes
├── TrainingError         a training that cannot start or continue
├── GateError             a model that does not pass evaluate.gate, or a file that differs from it
├── ReproductionError     a run that cannot be repeated
└── ServerError           our own server cannot start
"""

import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches

LINE = 1200
"""Characters of a line of a message; longer ones hold a list of names or a value, and are cut."""


class ImagetrailError(Exception):
    """A mistake that the user can fix; its text is for the user."""


class ParamsError(ImagetrailError):
    """A parameter is unknown, of the wrong type, out of range or without effect."""


class DataError(ImagetrailError):
    """The table, an image or a label cannot be used."""


class ArtifactError(ImagetrailError):
    """A file of the pipeline is missing, damaged or cannot be written."""


class TrainingError(ImagetrailError):
    """Training cannot start, or its loss is no longer a number."""


class GateError(ImagetrailError):
    """The model does not pass evaluate.gate, or a file answers otherwise than the model."""


class ReproductionError(ImagetrailError):
    """A run cannot be repeated: one of its inputs is missing or has changed."""


class Stopped(Exception):  # noqa: N818  # no error, and no ImagetrailError
    """A training was stopped on purpose before its last epoch, such as a pruned trial."""


class ServerError(ImagetrailError):
    """The server cannot start or continue."""


def quoted(value: object, length: int = 60) -> str:
    """Return a value for a message: quoted, on one line, without control characters, and cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or deep nesting
        return f"a very long {type(value).__name__}"
    return text if len(text) <= length else f"{text[:length]}…"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Suggest the right name for a wrong one: the nearest, or all of them."""
    names = {candidate.lower(): candidate for candidate in sorted(valid)}
    match = get_close_matches(name[:100].lower(), names, n=1)
    return f"did you mean {names[match[0]]!r}?" if match else f"valid names: {', '.join(names.values())}."


def natural_key(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts names as people count: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold()) for part in parts]


def printable(text: str) -> str:
    """Return a message that a terminal can show: control characters escaped, and long lines cut in the middle.

    Names and values come from users' files, and a terminal obeys escape sequences in them.
    """
    lines = []
    for line in text.split("\n"):
        if len(line) > LINE:
            line = f"{line[: LINE // 2]} … {line[-LINE // 3 :]}"
        lines.append("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))
    return "\n".join(lines)


def one_line(name: str) -> str:
    """Return a name as a terminal can show it on one line."""
    return printable(name.replace("\n", "\\n"))


def _reader_is_gone() -> bool:
    """Return whether nobody reads stdout any more, as in `imagetrail predict … | head -1`."""
    watched = select.poll()
    watched.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in watched.poll(0))


def guard(main: Callable[[], None]) -> None:
    """Run a command's `main` and turn its errors into one line and an exit code.

    Exit codes: 2 for the user's mistakes, 130 after Ctrl-C, 141 if nobody reads the output any more, 143 after SIGTERM.
    A traceback is printed only for internal errors, or with IMAGETRAIL_DEBUG=1.
    """

    def terminate(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except ImagetrailError as error:
        if os.environ.get("IMAGETRAIL_DEBUG") == "1":
            raise
        print(f"imagetrail: {printable(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        if os.environ.get("IMAGETRAIL_DEBUG") == "1":
            raise
        print(
            "imagetrail: interrupted; rerun the command to resume from the last finished stage or epoch.",
            file=sys.stderr,
        )
        raise SystemExit(130) from None
