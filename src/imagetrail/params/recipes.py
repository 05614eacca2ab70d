"""Recipes: short overlays on recipes/default.yaml, one for each classic system.

A mapping with a `name` is replaced whole, others merge; earlier values of params.yaml do not leak in.
"""

import copy
import io
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from imagetrail.errors import ParamsError, nearest
from imagetrail.files import artifacts
from imagetrail.params import yaml_text
from imagetrail.params.load import PARAMS_FILE, Params, parse_params
from imagetrail.params.section import Leaf, leaves

RECIPES = Path("recipes")
DEFAULT = "default"
ABOUT = "about"


class About(BaseModel):
    """A recipe's description of itself; not a parameter."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    system: str
    """One-line description."""
    data: str
    """The data set."""
    parameters: str
    """Number of parameters of the network, or what it depends on."""
    reach: str
    """The goal on the test rows."""


@dataclass(frozen=True)
class Recipe:
    """A file of recipes/."""

    name: str
    about: About
    text: str
    """Text of the file, including its header."""
    overlay: Mapping[str, Any]
    """Values that differ from the default."""


def names(root: Path) -> list[str]:
    """Return the names of all recipes, the default first."""
    others = sorted(path.stem for path in (root / RECIPES).glob("*.yaml") if path.stem != DEFAULT)
    return [DEFAULT, *others]


def read(root: Path, name: str) -> Recipe:
    """Read a recipe by its name.

    Raises:
        ParamsError: there is no such recipe, or its file is wrong.
    """
    path = root / RECIPES / f"{name}.yaml"
    if name not in names(root) or not path.is_file():
        raise ParamsError(f"{name!r} is not a recipe; {nearest(name, names(root))}")
    text = path.read_text(encoding="utf-8")
    try:
        overlay = dict(yaml_text.parse(text, _file(name)))  # type: ignore[call-overload]  # whatever is not a mapping fails
        about = About.model_validate(overlay.pop(ABOUT, {}))
    except (ValidationError, TypeError, ValueError) as error:
        raise ParamsError(f"{path.relative_to(root)} is not a recipe: {' '.join(str(error).split())}") from None
    return Recipe(name, about, text, overlay)


def apply(root: Path, name: str) -> dict[str, tuple[Leaf, Leaf]]:
    """Put a recipe into params.yaml, with the comments of the default.

    Returns:
        The changes: dotted name to (value before, value after), None if absent.

    Raises:
        ParamsError: there is no such recipe, or it is wrong; params.yaml does not change.
    """
    text = render(root, name)
    path = root / PARAMS_FILE
    before = _flat(path.read_text(encoding="utf-8")) if path.is_file() else {}
    with artifacts.writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    after = _flat(text)
    return {
        key: (before.get(key), after.get(key))
        for key in [*after, *(before.keys() - after.keys())]
        if before.get(key) != after.get(key)
    }


def render(root: Path, name: str) -> str:
    """Return the text of params.yaml for a recipe.

    Raises:
        ParamsError: there is no such recipe, or it does not fit the default.
    """
    params(root, name)
    tree = editable(root)
    overlay = _yaml().load(read(root, name).text)
    _merge(tree, {key: value for key, value in overlay.items() if key != ABOUT}, _file(name))
    return written(tree)


def editable(root: Path) -> Any:
    """Return the default as ruamel's tree, which keeps its comments."""
    tree = _yaml().load(read(root, DEFAULT).text)
    del tree[ABOUT]
    return tree


def written(tree: object) -> str:
    """Return the text of params.yaml for such a tree."""
    stream = io.StringIO()
    _yaml().dump(tree, stream)
    return stream.getvalue()


def _yaml() -> YAML:
    yaml = YAML()  # keeps comments, at ten times the time
    yaml.width = 120
    yaml.Representer = _Representer
    return yaml


def params(root: Path, name: str) -> Params:
    """Return the parameters of a recipe.

    Raises:
        ParamsError: there is no such recipe, or it does not fit the default.
    """
    return _on(read(root, DEFAULT), read(root, name))


def every(root: Path) -> Iterator[tuple[str, Params]]:
    """Yield the name and the parameters of every recipe, the default first.

    Raises:
        ParamsError: a recipe does not fit the default.
    """
    default = read(root, DEFAULT)
    for name in names(root):
        yield name, _on(default, read(root, name))


def _on(default: Recipe, recipe: Recipe) -> Params:
    tree = copy.deepcopy(dict(default.overlay))
    _merge(tree, recipe.overlay, _file(recipe.name))
    return parse_params(tree, _file(recipe.name))


def _file(name: str) -> str:
    return (RECIPES / f"{name}.yaml").as_posix()


def _merge(tree: MutableMapping[str, Any], overlay: Mapping[str, Any], file: str) -> None:
    """Merge an overlay into the tree of the default, in place."""
    for key, value in overlay.items():
        if key not in tree:
            raise ParamsError(f"{file}: {key!r} is not in the default; {nearest(key, list(tree))}")
        if isinstance(value, Mapping) and isinstance(tree[key], MutableMapping) and "name" not in value:
            _merge(tree[key], value, file)
        else:
            tree[key] = value


class _Representer(RoundTripRepresenter):
    """Writes null as `null`, not as an empty value; a class of our own, since ruamel keeps representers by class."""

    def _null(self, _: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer._null)


def loaded(text: str) -> dict[str, Any]:
    """Parse a YAML text."""
    tree: dict[str, Any] = yaml_text.parse(text, PARAMS_FILE)  # type: ignore[assignment]
    return tree


def _flat(text: str) -> dict[str, Leaf]:
    try:
        return dict(leaves(loaded(text)))
    except (ParamsError, AttributeError):
        return {}  # a params.yaml that cannot be read is replaced
