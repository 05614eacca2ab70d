"""Write signatures.json from the imported classes of torch, torchvision, timm and kornia: `make lock` runs this.

Run from the repository root: python -m imagetrail.params.libraries
"""

import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, Literal, Union, get_args, get_origin

from imagetrail.params.signatures import FILE

NOT_OFFERED = {
    # Schedules that take functions, other schedules or a metric.
    "ChainedScheduler", "CyclicLR", "LambdaLR", "LRScheduler", "MultiplicativeLR", "ReduceLROnPlateau", "SequentialLR",
    # Augmentations that need other inputs, or one random draw for the whole batch.
    "RandomDissolving", "RandomFisheye", "RandomJigsaw", "RandomMosaic", "RandomPatchMix", "RandomTransplantation",
    "RandomTransplantation3D",
}  # fmt: skip
LOSS_NAMES = ("CrossEntropyLoss", "MultiMarginLoss")
AUGMENTATION = re.compile(r"(?!.*3D$)(Random\w+|ColorJitter|ColorJiggle)")


def collect() -> dict[str, Any]:
    """Return the contents of signatures.json: the annotations of each class's parameters, and which are required."""
    import kornia.augmentation
    import timm
    import torch
    from torch.optim import lr_scheduler
    from torchvision import models

    mixing = ("RandomMixUpV2", "RandomCutMixV2")
    augmentations = [
        cls
        for name, cls in vars(kornia.augmentation).items()
        if AUGMENTATION.fullmatch(name) and (name in mixing or issubclass(cls, kornia.augmentation.AugmentationBase2D))
    ]
    classifiers = models.list_models(module=models)  # type: ignore[attr-defined]
    return {
        "optimizers": _family(_subclasses(torch.optim, torch.optim.Optimizer)),
        "schedules": _family(_subclasses(lr_scheduler, lr_scheduler.LRScheduler)),
        "losses": _family(getattr(torch.nn, name) for name in LOSS_NAMES),
        "augmentations": _family(augmentations),
        "classifiers": {name: {} for name in sorted(classifiers)},
        "timm": {name: {} for name in sorted(timm.list_models())},
        "weights": {name: {} for name in sorted(vars(models)) if name.endswith("_Weights")},
    }


def _subclasses(module: types.ModuleType, base: type) -> Iterable[type]:
    found = (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, base))
    return {cls for cls in found if cls is not base and not cls.__name__.startswith("_")}


def _family(classes: Iterable[Callable[..., Any]]) -> dict[str, Any]:
    return {
        cls.__name__: {
            name: [_text(_resolved(parameter.annotation, cls)), parameter.default is parameter.empty]
            for name, parameter in inspect.signature(cls).parameters.items()
        }
        for cls in sorted(classes, key=lambda cls: cls.__name__)
        if cls.__name__ not in NOT_OFFERED
    }


def _resolved(annotation: Any, cls: Callable[..., Any]) -> Any:
    """Evaluate an annotation that is kept as text, such as `Optional[int]`, where its module imports the names."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, vars(sys.modules[cls.__module__]))  # noqa: S307  # a pinned library's own code
    except NameError:  # imported for type checkers only
        return annotation


def _text(annotation: Any) -> str:
    """Format an annotation as an expression of plain names: `tuple[float, float] | None`."""
    if annotation is inspect.Parameter.empty:
        return "object"
    if isinstance(annotation, str):
        return annotation
    arguments = get_args(annotation)
    match get_origin(annotation):
        case None:
            return "None" if annotation is type(None) else str(annotation.__name__)
        case origin if origin in (Union, types.UnionType):
            return " | ".join(map(_text, arguments))
        case origin if origin is Literal:
            return f"Literal[{', '.join(map(repr, arguments))}]"
        case origin:
            return f"{origin.__name__}[{', '.join(map(_text, arguments))}]"


def text(families: dict[str, Any]) -> str:
    """Format what `collect` returns as JSON, one class per line."""
    parts = []
    for family, classes in families.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(parameters)}" for name, parameters in classes.items())
        parts.append(f"{json.dumps(family)}: {{\n{lines}\n}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(collect()), encoding="utf-8")
