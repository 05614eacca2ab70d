"""Parse YAML that a user wrote. Whatever its text holds, the answer is plain values or one sentence."""

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError

from imagetrail.errors import ParamsError, quoted

DEPTH, VALUES = 20, 10_000
"""Largest nesting and number of values; aliases count each time, so a few lines can expand to billions."""


def parse(text: str, file: str) -> object:
    """Parse a text; `file` is named in the message.

    Raises:
        ParamsError: it is not YAML, YAML cannot make a value of a word, or it is nested or repeated beyond the limits.
    """
    try:
        yaml = YAML(typ="safe")
        yaml.Constructor = _Constructor
        tree: object = yaml.load(text)
    except RecursionError:
        raise _too_large(file) from None
    except YAMLError as error:
        raise ParamsError(f"{file} is not valid YAML: {_one_line(error)}") from None
    if _exceeds_limits(tree):
        raise _too_large(file)
    return tree


class _Constructor(SafeConstructor):
    """Names the word and its place where ruamel.yaml lets through the errors of int(), date() and its own tables."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"{quoted(node.value)} is not a valid {kind}", node.start_mark) from None


def _one_line(error: YAMLError) -> str:
    return " ".join(str(error).replace('"<unicode string>", ', "").split())


def _too_large(file: str) -> ParamsError:
    return ParamsError(f"{file} has more than {VALUES:,} values or {DEPTH} levels of nesting; restore it with git.")


def _exceeds_limits(tree: object) -> bool:
    level, count = [tree], 0
    for _ in range(DEPTH):
        inner: list[object] = []
        for value in level:
            count += 1
            if isinstance(value, Mapping):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple | set | frozenset):
                inner += value
            if count + len(inner) > VALUES:
                return True
        level = inner
    return bool(level)
