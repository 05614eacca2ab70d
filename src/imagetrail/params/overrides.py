"""Parameters for one run: parse arguments, write them in DVC's override syntax, check and apply them."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetrail.errors import ParamsError
from imagetrail.params import recipes
from imagetrail.params.load import PARAMS_FILE, Params, load_params

RECIPE = "recipe"
"""`-P recipe=NAME` starts the run from that recipe instead of params.yaml."""


def pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Read `--name value` pairs, as MLflow passes them; an empty value keeps the parameter.

    Raises:
        ParamsError: the arguments are not pairs.
    """
    if len(arguments) % 2 or not all(name.startswith("--") and len(name) > 2 for name in arguments[::2]):
        raise ParamsError(
            f"parameters come as --name value, not {' '.join(arguments)!r}; use mlflow run . -P name=value."
        )
    return {name[2:]: value for name, value in zip(arguments[::2], arguments[1::2], strict=True) if value != ""}


def of_arguments(root: Path, arguments: Mapping[str, str]) -> list[str]:
    """Return the values that DVC must set: those of the named recipe, one by one, then the other arguments.

    Args:
        root: the checkout, whose params.yaml the overrides are for.
        arguments: dotted names, or `recipe`, and values as typed.

    Raises:
        ParamsError: there is no such recipe.
    """
    given = dict(arguments)
    named = given.pop(RECIPE, None)
    return [
        *([] if named is None else _recipe(root, named)),
        *(f"++{name}={_parsable(value)}" for name, value in given.items()),
    ]


def _parsable(typed: str) -> str:
    """Quote a value that DVC's grammar has no reading for, such as a semicolon."""
    from dvc.utils.hydra import to_hydra_overrides
    from hydra.errors import HydraException

    try:
        to_hydra_overrides([f"++name={typed}"])
    except HydraException:
        return _spelled(typed)
    return typed


def of_values(values: Mapping[str, object]) -> list[str]:
    """Return the overrides for Python values."""
    return [f"++{name}={_spelled(value)}" for name, value in values.items()]


def _recipe(root: Path, name: str) -> Iterator[str]:
    before = recipes.loaded((root / PARAMS_FILE).read_text(encoding="utf-8"))
    return _changes(before, recipes.loaded(recipes.render(root, name)), "")


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield overrides in DVC's syntax: `~name` removes, `++name=value` sets."""
    yield from (f"~{prefix}{key}" for key in before if key not in after)
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            yield from _changes(old, value, f"{prefix}{key}.")
        elif key not in before or old != value or type(old) is not type(value):
            yield f"++{prefix}{key}={_spelled(value)}"


def _spelled(value: object) -> str:
    """Write a value in the grammar of DVC's overrides."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + ",".join(map(_spelled, value)) + "]"
        case dict():
            return "{" + ",".join(f"{key}:{_spelled(item)}" for key, item in value.items()) + "}"
        case _:
            return repr(value)


def check(root: Path, changes: Sequence[str]) -> Params:
    """Return the parameters that result from changes, or raise ParamsError; params.yaml does not change."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        (copy / PARAMS_FILE).write_bytes((root / PARAMS_FILE).read_bytes())
        apply(copy, changes)
        return load_params(copy)


def apply(root: Path, changes: Sequence[str]) -> None:
    """Change params.yaml and keep its comments.

    Raises:
        ParamsError: DVC cannot set a value.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    for change in changes:
        try:
            apply_overrides(root / PARAMS_FILE, [change])
        except (DvcException, ValueError, TypeError) as error:
            typed = change.removeprefix("++")
            raise ParamsError(
                f"{typed!r} is not a value that DVC can set ({error.__cause__ or error}); quote it as for "
                "`dvc exp run --set-param`."
            ) from None
