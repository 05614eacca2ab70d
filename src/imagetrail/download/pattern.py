"""`download.pattern`: the label, split and group that an image's name holds."""

import re
from typing import NamedTuple

from imagetrail.params.download import FIELDS, TOKEN


class Held(NamedTuple):
    """What a name holds; empty where the pattern has no such field."""

    label: str
    split: str
    group: str


class Pattern:
    """A pattern, ready to read names."""

    def __init__(self, text: str) -> None:
        """Compile a pattern that params/download.py has checked."""
        self.text = text
        self._expression = re.compile("".join(_part(token) for token in TOKEN.findall(text)))

    def read(self, name: str) -> Held | None:
        """Return what a name holds; None if the pattern does not fit it."""
        found = self._expression.fullmatch(name)
        if found is None:
            return None
        held = found.groupdict(default="")
        return Held(*(held.get(field, "") for field in Held._fields))


def _part(token: str) -> str:
    match token:
        case "**/":
            return "(?:[^/]+/)*"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "{ext}":
            return "[^/.]+"
        case "{number}":
            return "[0-9]+"
        case _ if token[1:-1] in FIELDS:
            return f"(?P<{token[1:-1]}>[^/]+?)"
        case _:
            return re.escape(token)
