"""What a class takes, read from its source text instead of by importing it.

params.yaml names classes of torch and of this package. Every stage checks the whole file, and most stages must not
pay for importing torch, so names and types come from the installed source: `torch.optim.SGD` is found as the text of
`class SGD` in torch's folder.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from imagetrail.errors import nearest

Value = object
"""A YAML value: number, text, boolean, null, list or mapping."""


@dataclass(frozen=True)
class Family:
    """Classes (or functions) of one kind, and the source files that define them."""

    package: str
    files: tuple[str, ...]
    pattern: str
    """Of the names that belong to it."""
    given: frozenset[str]
    """Arguments that the training passes itself, which params.yaml must not."""
    fillable: frozenset[str] = frozenset()
    """Required arguments that the training knows when params.yaml leaves them out."""
    marked: str = ""
    """Text before the definition that makes it a member; a regular expression."""

    def sources(self) -> list[Path]:
        """The files, in order of name; the package is located, not imported."""
        spec = find_spec(self.package)
        assert spec is not None and spec.origin is not None, f"{self.package} is in requirements.lock"
        folder = Path(spec.origin).parent
        return [path for pattern in self.files for path in sorted(folder.glob(pattern))]

    def names(self) -> frozenset[str]:
        """Every member."""
        return _names(self)

    def problems(self, name: str, arguments: Mapping[str, Value]) -> list[str]:
        """Everything wrong with building `name` from `arguments`; empty when nothing is.

        Args:
            name: class or function name, as in the library.
            arguments: keyword arguments without the nulls, which mean "not passed".
        """
        if name not in self.names() or (found := _definition(_texts(self), name)) is None:
            return [f"{name!r} is not known here; {nearest(name, self.names())}"]
        parameters = {key: value for key, value in found.items() if key not in self.given}
        wrong = []
        for key, value in arguments.items():
            if key not in parameters:
                wrong.append(f"{key!r} is not a parameter of {name}; {nearest(key, parameters)}")
            elif _fits(parameters[key][0], value) is False:
                expected = ast.unparse(parameters[key][0]).strip("'\"")
                wrong.append(f"{key} = {value!r} does not fit {name}, which takes {expected}")
        missing = {key for key, (_, required) in parameters.items() if required} - arguments.keys() - self.fillable
        wrong += [f"{name} needs {key!r}; give it a value" for key in sorted(missing)]
        return wrong


@cache
def _texts(family: Family) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8") for path in family.sources())


@cache
def _names(family: Family) -> frozenset[str]:
    definition = re.compile(rf"^{family.marked}(?:class|def) ([A-Za-z]\w*)\(", re.M)
    found = {name for text in _texts(family) for name in definition.findall(text)}
    return frozenset(name for name in found if re.fullmatch(family.pattern, name))


def _definition(texts: Sequence[str], name: str) -> dict[str, tuple[ast.expr, bool]] | None:
    """Parameters of a class's __init__ or of a function: name to (annotation, required)."""
    for text in texts:
        start = re.search(rf"^(?:class|def) {name}\(", text, re.M)
        if start is None:
            continue
        rest = text[start.start() :]
        end = re.search(r"\n(?=[^\s#)\]}])", rest)  # the first line after it that is not indented
        node = ast.parse(rest[: end.start()] if end else rest).body[0]
        if isinstance(node, ast.FunctionDef):
            return _parameters(node)
        assert isinstance(node, ast.ClassDef)
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                return _parameters(member)
        for base in node.bases:
            if isinstance(base, ast.Name) and (inherited := _definition(texts, base.id)) is not None:
                return inherited
    return None


def _parameters(function: ast.FunctionDef) -> dict[str, tuple[ast.expr, bool]]:
    anything = ast.Name("object")
    arguments = function.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    optional = {a.arg for a in ordered[len(ordered) - len(arguments.defaults) :]}
    optional |= {a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None}
    return {
        a.arg: (a.annotation or anything, a.arg not in optional)
        for a in [*ordered, *arguments.kwonlyargs]
        if a.arg != "self"
    }


def _fits(annotation: ast.expr, value: Value) -> bool | None:
    """Whether a YAML value fits an annotation; None where the annotation says nothing about YAML values."""
    match annotation:
        case ast.Constant(value=str(text)):
            return _fits(ast.parse(text, mode="eval").body, value)
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Name(id="str"):
            return isinstance(value, str)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any(left, right, value=value)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return value is None or _fits(inner, value)
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=members)):
            return _any(*members, value=value)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=members)):
            return value in [m.value for m in members if isinstance(m, ast.Constant)]
        case ast.Subscript(value=ast.Name(id="list" | "List" | "Sequence"), slice=inner):
            return isinstance(value, list) and all(_fits(inner, item) is not False for item in value)
        case ast.Subscript(value=ast.Name(id="tuple" | "Tuple"), slice=ast.Tuple(elts=members)):
            if not isinstance(value, list) or len(value) != len(members):
                return False
            return all(_fits(member, item) is not False for member, item in zip(members, value, strict=True))
    return None


def _any(*members: ast.expr, value: Value) -> bool | None:
    """A union: members that say nothing about YAML values (a Tensor) do not make everything fit."""
    answers = [answer for member in members if (answer := _fits(member, value)) is not None]
    return any(answers) if answers else None


OPTIMIZERS = Family(
    "torch",
    ("optim/*.py",),
    r"(?!Optimizer$|LR|SWA|Averaged|\w*LR$|\w*Scheduler$|\w*Plateau$|\w*Restarts$)[A-Z]\w*",
    given=frozenset({"params"}),
)
SCHEDULES = Family(
    "torch",
    ("optim/lr_scheduler.py",),
    r"(?!Cyclic|Sequential|Lambda|Multiplicative)\w+LR|CosineAnnealingWarmRestarts",
    given=frozenset({"optimizer", "last_epoch", "max_lr", "total_steps", "epochs", "steps_per_epoch"}),
    fillable=frozenset({"T_max"}),
)
LOSSES = Family(
    "torch",
    ("nn/modules/loss.py",),
    r"CrossEntropyLoss|MultiMarginLoss",
    given=frozenset({"weight", "size_average", "reduce", "reduction"}),
)
MODELS = Family(
    "imagetrail",
    ("model/networks/[a-z]*.py",),
    r"[A-Z]\w*",
    given=frozenset({"in_channels", "image_size", "num_classes", "architecture"}),
)
BUILDERS = Family("torchvision", ("models/*.py",), r"\w+", given=frozenset(), marked=r"@register_model\(\)\n(?:@.*\n)*")
"""torchvision's classifiers; what they take in params.yaml is what imagetrail's Backbone takes."""
WEIGHT_ENUMS = Family("torchvision", ("models/*.py",), r"\w+_Weights", given=frozenset())
AUGMENTATIONS = Family(
    "kornia",
    ("augmentation/base.py", "augmentation/_2d/*.py", "augmentation/_2d/*/*.py"),
    r"(?!RandomJigsaw|RandomMosaic|RandomTransplantation|RandomPatchMix|RandomDissolving|RandomFisheye)Random\w+|ColorJitter|ColorJiggle",
    given=frozenset({"same_on_batch", "p_batch", "keepdim", "data_keys", "use_correct_lambda", "num_mix"}),
)
"""kornia's classes, which draw for every image of a batch on its own."""
