"""Put choices into params.yaml, each with its reason behind it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from imagetrail.files import artifacts
from imagetrail.params import recipes
from imagetrail.params.load import PARAMS_FILE, Params, parse_params

REASON_LENGTH = 110


class Choice(NamedTuple):
    """A parameter, its value, and why."""

    name: str
    """Dotted."""
    value: object
    reason: str


def render(root: Path, choices: Sequence[Choice]) -> tuple[str, Params]:
    """Return the text of params.yaml, the default with these choices, and its parameters.

    Raises:
        ParamsError: the choices contradict each other.
    """
    tree = recipes.editable(root)
    for choice in choices:
        *sections, key = choice.name.split(".")
        section = tree
        for name in sections:
            section = section[name]
        section[key] = _block(choice.value)
        if choice.reason:
            _comment(section, key, choice.reason)
    text = re.sub(r"\n+(?=\w+:\n)", "\n\n", recipes.written(tree))
    return text, parse_params(recipes.loaded(text), PARAMS_FILE)


def write(root: Path, text: str) -> None:
    """Replace params.yaml."""
    with artifacts.writing(root / PARAMS_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _block(value: object) -> object:
    """Return a value as params.yaml spells it: a mapping in a block, a list of numbers or texts in brackets."""
    if isinstance(value, Mapping):
        return CommentedMap({key: _block(item) for key, item in value.items()})
    if isinstance(value, list):
        items = CommentedSeq(map(_block, value))
        if not any(isinstance(item, Mapping) for item in value):
            items.fa.set_flow_style()
        return items
    return value


def _comment(section: Any, key: str, reason: str) -> None:
    """Put a reason behind a value, in place of the default's comment."""
    one_line = " ".join(reason.split())
    short = one_line if len(one_line) <= REASON_LENGTH else f"{one_line[: REASON_LENGTH - 1]}…"
    section.ca.items.pop(key, None)
    section.yaml_add_eol_comment(short, key, column=0)
