"""Check the arguments of the classes that params.yaml names, without importing torch, torchvision or kornia.

Every stage checks the whole file, and most stages must not pay for importing torch. signatures.json, which libraries.py
writes, holds the arguments of the pinned libraries' classes; our own networks are read from their source.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from imagetrail.errors import nearest, quoted

FILE = Path(__file__).with_name("signatures.json")
NETWORKS_FOLDER = Path(__file__).parents[1] / "model" / "networks"
INT32, FLOAT32 = 2**31 - 1, 3.4028234663852886e38
"""Largest numbers that torch's kernels take; no NaN is below them."""
WORDS = {"DropoutRate": "float in [0, 1)", "Count": "int ≥ 1"}
"""The types of our own networks, in words."""
Value = object
"""A YAML value: number, text, boolean, null, list or mapping."""
Parameters = Mapping[str, tuple[str, bool]]
"""By name: the annotation as text, and whether the parameter is required."""


@dataclass(frozen=True)
class Family:
    """Classes of one kind."""

    key: str
    """In signatures.json; `networks` for our own."""
    given: frozenset[str]
    """Arguments that the training passes itself, so params.yaml must not."""
    fillable: frozenset[str] = frozenset()
    """Required arguments that the training supplies if params.yaml omits them."""

    def names(self) -> frozenset[str]:
        """Return the names of all members."""
        return frozenset(self._members())

    def _members(self) -> Mapping[str, Parameters]:
        return _networks() if self.key == "networks" else _libraries()[self.key]

    def problems(self, name: str, arguments: Mapping[str, Value]) -> list[str]:
        """List everything wrong with building `name` from `arguments`.

        Args:
            name: class or function name, as in the library.
            arguments: keyword arguments without the nulls, which mean "not passed".
        """
        members = self._members()
        if name not in members:
            return [f"{quoted(name)} is not known here; {nearest(name, members)}"]
        parameters = {key: value for key, value in members[name].items() if key not in self.given}
        wrong = []
        for key, value in arguments.items():
            if key not in parameters:
                wrong.append(f"{quoted(key)} is not a parameter of {name}; {nearest(key, parameters)}")
            elif _fits(ast.parse(parameters[key][0], mode="eval").body, value) is False:
                wrong.append(
                    f"{key} = {quoted(value)} does not fit {name}, which takes {_in_words(parameters[key][0])}"
                )
        missing = {key for key, (_, required) in parameters.items() if required} - arguments.keys() - self.fillable
        wrong += [f"{name} needs {key!r}; give it a value" for key in sorted(missing)]
        return wrong


@cache
def _libraries() -> dict[str, Any]:
    families: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return families


@cache
def _networks() -> dict[str, Parameters]:
    """Read the constructors of the networks in model/networks/: of the public classes that take `num_classes`."""
    found: dict[str, Parameters] = {}
    for path in sorted(NETWORKS_FOLDER.glob("[a-z]*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                methods = {member.name: member for member in node.body if isinstance(member, ast.FunctionDef)}
                parameters = _parameters(methods["__init__"])
                if "num_classes" in parameters:
                    found[node.name] = parameters
    return found


def _parameters(function: ast.FunctionDef) -> Parameters:
    arguments = function.args
    required = {a.arg for a in arguments.args[: len(arguments.args) - len(arguments.defaults)]}
    required |= {a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default}
    return {
        a.arg: (ast.unparse(a.annotation) if a.annotation else "object", a.arg in required)
        for a in [*arguments.args, *arguments.kwonlyargs]
        if a.arg != "self"
    }


def _in_words(annotation: str) -> str:
    for name, words in WORDS.items():
        annotation = annotation.replace(name, words)
    return annotation


def _fits(annotation: ast.expr, value: Value) -> bool | None:
    """Return whether a YAML value fits an annotation; None if the annotation does not concern YAML values."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= INT32
        case ast.Name(id="Count"):
            return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= INT32
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FLOAT32
        case ast.Name(id="DropoutRate"):
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
        case ast.Name(id="str"):
            return isinstance(value, str)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            # A member that does not concern YAML values (a Tensor) must not make everything fit.
            answers = [answer for member in (left, right) if (answer := _fits(member, value)) is not None]
            return any(answers) if answers else None
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=members)):
            return value in [m.value for m in members if isinstance(m, ast.Constant)]
        case ast.Subscript(value=ast.Name(id="list" | "Sequence"), slice=inner):
            return isinstance(value, list) and all(_fits(inner, item) is not False for item in value)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=members)):
            if not isinstance(value, list) or len(value) != len(members):
                return False
            return all(_fits(member, item) is not False for member, item in zip(members, value, strict=True))
    return None


OPTIMIZERS = Family("optimizers", given=frozenset({"params"}))
SCHEDULES = Family(
    "schedules",
    given=frozenset({"optimizer", "last_epoch", "max_lr", "total_steps", "epochs", "steps_per_epoch"}),
    fillable=frozenset({"T_max"}),
)
LOSSES = Family("losses", given=frozenset({"weight", "size_average", "reduce", "reduction"}))
AUGMENTATIONS = Family(
    "augmentations",
    given=frozenset({"same_on_batch", "p_batch", "keepdim", "data_keys", "use_correct_lambda", "num_mix"}),
)
"""kornia's classes, which draw random numbers for each image of a batch."""
CLASSIFIERS = Family("classifiers", given=frozenset())
"""torchvision's classifiers; in params.yaml they take the arguments of Backbone."""
TIMM_MODELS = Family("timm", given=frozenset())
WEIGHT_ENUMS = Family("weights", given=frozenset())
NETWORKS_HERE = Family("networks", given=frozenset({"in_channels", "image_size", "num_classes", "architecture"}))
