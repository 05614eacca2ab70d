"""What portable arithmetic refuses, by name: all that is not among the operations of docs/portable.md."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from imagetrail.params import signatures

if TYPE_CHECKING:
    from imagetrail.params.load import Params

FUSED = frozenset({"Adagrad", "Adam", "AdamW", "SGD"})
"""Those with a fused form; the others take square roots with MKL, which rounds them by the processor."""
BACKBONES = frozenset({"resnet18", "resnet50"})
"""Classifiers of torchvision that were tried."""
NATIVE = "set train.arithmetic to native"


def problems(params: "Params") -> Iterator[str]:
    """Yield what keeps a training, or the evaluation of its model, from portable arithmetic."""
    train, evaluate, model = params.train, params.evaluate, params.model
    if train.precision != "float32":
        yield f"train.precision = {train.precision!r} is not portable; set it to float32, or {NATIVE}"
    for name, device in (("train", train.device), ("evaluate", evaluate.device)):
        if device == "cuda":
            yield f"{name}.device = 'cuda' is not portable; set it to cpu or auto, or {NATIVE}"
    if train.optimizer.name not in FUSED:
        yield (
            f"train.optimizer.name = {train.optimizer.name!r} is not portable; use one of "
            f"{', '.join(sorted(FUSED))}, or {NATIVE}"
        )
    for argument in ("foreach", "differentiable"):
        if train.optimizer.arguments.get(argument):
            yield f"train.optimizer.{argument} = true is not portable; leave it out, or {NATIVE}"
    if train.optimizer.arguments.get("fused") is False:
        yield f"train.optimizer.fused = false is not portable; leave it out, or {NATIVE}"
    if model.name not in BACKBONES | signatures.NETWORKS_HERE.names():
        yield f"model.name = {model.name!r} was not proven portable; {NATIVE}"
