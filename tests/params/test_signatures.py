"""Signatures are those of the imported classes."""

import inspect

import pytest
import torch

from imagetrail.model.networks import NETWORKS
from imagetrail.params import libraries, signatures
from imagetrail.params.signatures import Family


def real(family: Family, cls: object) -> set[str]:
    return set(inspect.signature(cls).parameters) - family.given


@pytest.mark.parametrize(
    ("family", "cls"),
    [
        *((signatures.OPTIMIZERS, getattr(torch.optim, name)) for name in ("SGD", "Adam", "AdamW", "NAdam", "RMSprop")),
        *(
            (signatures.SCHEDULES, getattr(torch.optim.lr_scheduler, name))
            for name in ("StepLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "OneCycleLR", "ExponentialLR")
        ),
        *((signatures.LOSSES, getattr(torch.nn, name)) for name in ("CrossEntropyLoss", "MultiMarginLoss")),
        *((signatures.NETWORKS_HERE, cls) for cls in NETWORKS.values()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_only_the_parameters_of_the_class_are_accepted(family: Family, cls: type) -> None:
    names = real(family, cls)
    unknown = [p for p in family.problems(cls.__name__, dict.fromkeys(names)) if "is not a parameter" in p]
    assert unknown == []
    (problem,) = (p for p in family.problems(cls.__name__, {"no_such": 1}) if "no_such" in p)
    assert "is not a parameter" in problem


def test_signatures_json_matches_the_installed_libraries() -> None:
    """`make lock` rewrites it."""
    assert signatures.FILE.read_text(encoding="utf-8") == libraries.text(libraries.collect())


def test_every_optimizer_of_torch_is_known() -> None:
    names = [
        name
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    ]
    assert len(names) > 10
    for name in names:
        assert not any("is not known" in problem for problem in signatures.OPTIMIZERS.problems(name, {}))


@pytest.mark.parametrize(
    ("value", "fits"),
    [(0.1, True), (1, True), ("x", False), (True, False), ([1], False)],
)
def test_unions_with_a_tensor_still_check_numbers(value: object, fits: bool) -> None:
    assert (signatures.OPTIMIZERS.problems("AdamW", {"lr": value}) == []) is fits


@pytest.mark.parametrize(("value", "fits"), [([0.9, 0.99], True), ([0.9], False), ([0.9, "x"], False), (0.9, False)])
def test_tuples_are_checked_item_by_item(value: object, fits: bool) -> None:
    assert (signatures.OPTIMIZERS.problems("AdamW", {"betas": value}) == []) is fits


def test_arguments_that_training_passes_are_rejected() -> None:
    assert signatures.SCHEDULES.problems("StepLR", {"step_size": 1, "optimizer": "x"})
    assert signatures.LOSSES.problems("CrossEntropyLoss", {"reduction": "mean"})


@pytest.mark.parametrize("name", ["RandomCrop", "RandomResizedCrop"])
def test_annotations_that_are_kept_as_text_are_checked(name: str) -> None:
    """kornia writes those of some classes for older Pythons: Tuple, Optional and Union."""
    (problem,) = signatures.AUGMENTATIONS.problems(name, {"size": 32})
    assert problem == f"size = 32 does not fit {name}, which takes tuple[int, int]"
    assert signatures.AUGMENTATIONS.problems(name, {"size": [32, 32]}) == []
