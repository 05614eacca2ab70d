"""Print a hash of every operation that portable arithmetic admits: a program, to be run on several processors.

Networks with their layers, forwards and backwards; losses, optimizers, schedules, averaging, clipping, augmentations;
and what NumPy computes of predictions.
"""

import hashlib
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path

import kornia.augmentation
import numpy as np
import torch
from torch import Tensor, nn

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "src")]

from imagetrail.evaluate import metrics  # noqa: E402
from imagetrail.evaluate.inference import Predictions  # noqa: E402
from imagetrail.files.arrays import Subset  # noqa: E402
from imagetrail.files.artifacts import Dataset  # noqa: E402
from imagetrail.model import devices, networks  # noqa: E402
from imagetrail.model.classifier import Card, Classifier  # noqa: E402
from imagetrail.params import portable, recipes, signatures  # noqa: E402
from imagetrail.params.train import Augment, Train  # noqa: E402
from imagetrail.train import calibration, normalisation, optimisation  # noqa: E402
from imagetrail.train.augment import Augmentation  # noqa: E402

CLASSES = 5
NETWORKS = {
    "MLP": {"hidden": [20, 10], "dropout": 0.2},
    "PlainCNN": {"widths": [4, 8], "padding": 1, "pool_after": [2], "batch_norm": True, "hidden": [9], "dropout": 0.2},
    "ResidualCNN": {"stem": 4, "widths": [8], "blocks": [1], "dropout": 0.2},
    "SmallCNN": {"widths": [4, 8], "dropout": 0.2},
    "TinyCNN": {"stem": 4, "widths": [4, 8], "repeats": [2, 1], "kernel_size": 3, "pool_before": [2]},
    "WhitenedCNN": {"widths": [4, 8], "convolutions": 3},
    **{name: {"freeze": False} for name in sorted(portable.BACKBONES)},
}
"""Every network that portable arithmetic admits, with small arguments."""
NEEDED = {
    "ColorJiggle": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
    "ColorJitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
    "RandomAffine": {"degrees": 15.0, "translate": [0.1, 0.1], "scale": [0.8, 1.2], "shear": 5.0},
    "RandomCrop": {"size": [16, 16], "padding": 2},
    "RandomGaussianBlur": {"kernel_size": 3, "sigma": [0.1, 2.0]},
    "RandomMedianBlur": {"kernel_size": [3, 3]},
    "RandomMotionBlur": {"kernel_size": 3, "angle": 35.0, "direction": 0.5},
    "RandomRain": {"drop_height": [2, 4], "drop_width": [-2, 2]},
    "RandomResizedCrop": {"size": [16, 16]},
    "RandomRotation": {"degrees": 15.0},
    "RandomRotation90": {"times": [1, 3]},
    "RandomShear": {"shear": 10.0},
    "RandomTranslate": {"translate_x": [-0.1, 0.1], "translate_y": [-0.1, 0.1]},
}
"""Arguments of augmentations that do nothing, or cannot be built, without."""
SCHEDULES = {
    "ExponentialLR": {"gamma": 0.9}, "MultiStepLR": {"milestones": [2, 3]}, "StepLR": {"step_size": 2},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
}  # fmt: skip


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


IMAGES, LABELS = random(12, 3, 16, 16), torch.arange(12) % CLASSES
PIXELS = (random(12, 3, 16, 16) * 256).to(torch.uint8).numpy()
SUBSET = Subset(
    Dataset("made-up", list("abcde"), {}, [12, 3, 16, 16], None, 0, {}, {}, "", {}),
    PIXELS,
    LABELS.numpy(),
    np.arange(12),
)
DEFAULT = recipes.loaded(recipes.render(REPOSITORY, "default"))["train"]


def options(**changes: object) -> Train:
    return Train.model_validate(DEFAULT | changes)


def network(name: str, arguments: dict[str, object]) -> list[Tensor]:
    torch.manual_seed(0)
    model = networks.build(name, 3, (16, 16), CLASSES, arguments).to(memory_format=torch.channels_last)
    inputs = IMAGES.contiguous(memory_format=torch.channels_last)
    for _ in range(2):
        model.zero_grad()
        nn.functional.cross_entropy(model.train()(inputs), LABELS).backward()
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.requires_grad):
                parameter -= 0.1 * parameter.grad
    return [model.eval()(inputs), *model.state_dict().values()]


def whitened() -> list[Tensor]:
    """The first layer of a network, made from images."""
    model = networks.build("WhitenedCNN", 3, (16, 16), CLASSES, NETWORKS["WhitenedCNN"])
    model.prepare(IMAGES.split(5))
    return [model.whitening.weight]


def seen(side: int) -> list[Tensor]:
    """What a network gets of 16 x 16 pixels, enlarged or cropped."""
    card = Card("MLP", {"hidden": [4], "dropout": 0.0}, None, list("abcde"), 3, [16, 16], None, [0.4] * 3, [0.3] * 3, 0,
                "", input_size=[side, side])  # fmt: skip
    return [Classifier(card).normalise(torch.from_numpy(PIXELS))]


def loss(given: Train, targets: Tensor) -> list[Tensor]:
    logits = (random(12, CLASSES) * 8 - 4).requires_grad_()
    value = optimisation.loss(given, SUBSET)(logits, targets)
    value.backward()
    return [value, logits.grad]


def steps(given: Train) -> list[Tensor]:
    """Twelve steps of an optimizer with its schedule, clipping and averaging; more than RAdam-like warm-ups take."""
    model = nn.Linear(30, 10)
    with torch.no_grad():
        model.weight.copy_(random(10, 30))
        model.bias.copy_(random(10))
    optimisation_ = optimisation.Optimisation(given, model, SUBSET)
    rates = []
    for number in range(1, 13):
        optimisation_.begin_epoch(number)
        model.zero_grad()
        (model(random(8, 30) - number / 12).square().sum() / 8).backward()
        optimisation_.step()
        rates.append(optimisation_.lr)
        optimisation_.end_epoch()
    return [*optimisation_.answering.state_dict().values(), torch.tensor(rates, dtype=torch.float64)]


def augmentation(name: str) -> list[Tensor]:
    sure = {"p": 1.0} if "p" in inspect.signature(getattr(kornia.augmentation, name)).parameters else {}
    torch.manual_seed(3)
    augment = Augmentation([Augment.model_validate({"name": name} | NEEDED.get(name, {}) | sure)], CLASSES, (16, 16))
    return list(augment(IMAGES, LABELS))


def evaluation() -> list[Tensor]:
    rows = np.arange(4000)  # NumPy's kernels differ in one logarithm of some hundreds
    probabilities = (random(len(rows), CLASSES).double() * 9).softmax(dim=1).numpy()
    found = Predictions.of(list("abcde"), rows, rows % CLASSES, [probabilities])
    figures = metrics.measure(found, 15)
    return [torch.tensor([figures[name] for name in ("accuracy", "loss", "macro_f1", "ece")], dtype=torch.float64)]


def calibrated() -> list[Tensor]:
    logits = random(4000, CLASSES) * 9
    labels = torch.arange(4000) % CLASSES
    found = [calibration.temperature(logits, labels), *calibration.thresholds(logits, labels)]
    return [torch.tensor(found, dtype=torch.float64)]


def c_library() -> list[Tensor]:
    values = (random(20_000).double() * 40 - 20).tolist()
    functions = (
        math.exp,
        math.sin,
        math.cos,
        math.atan,
        math.tanh,
        lambda v: math.log(abs(v)),
        lambda v: abs(v) ** 0.9,
    )
    return [torch.tensor([function(value) for value in values], dtype=torch.float64) for function in functions]


def numpy() -> list[Tensor]:
    values = (random(20_000).double() * 9).numpy()
    functions = (np.exp, np.log1p, np.sin, np.cos, np.tanh, lambda v: v.reshape(100, 200) @ v.reshape(200, 100))
    return [torch.from_numpy(function(values)) for function in functions]


def operations() -> dict[str, Callable[[], list[Tensor]]]:
    found: dict[str, Callable[[], list[Tensor]]] = {
        f"network {name}": lambda name=name, arguments=arguments: network(name, arguments)
        for name, arguments in NETWORKS.items()
    }
    found |= {f"pixels for a network that sees {side}": lambda side=side: seen(side) for side in (24, 10)}
    found |= {f"loss {n}": lambda n=n: loss(options(loss={"name": n}), LABELS) for n in signatures.LOSSES.names()}
    smooth = options(loss={"name": "CrossEntropyLoss", "label_smoothing": 0.1}, class_weights="balanced")
    found["loss CrossEntropyLoss smoothed and weighted, of mixed labels"] = lambda: loss(
        smooth, random(12, CLASSES).softmax(dim=1)
    )
    found |= {
        f"optimizer {n}": lambda n=n: steps(
            options(optimizer={"name": n, "lr": 0.01, "weight_decay": 0.1}, schedule=None)
        )
        for n in portable.FUSED
    }
    found["optimizer SGD with momentum"] = lambda: steps(
        options(optimizer={"name": "SGD", "lr": 0.01, "momentum": 0.9, "nesterov": True}, schedule=None)
    )
    found |= {
        f"schedule {n}": lambda n=n: steps(options(schedule={"name": n} | SCHEDULES.get(n, {})))
        for n in signatures.SCHEDULES.names()
    }
    found["clip_grad_norm"] = lambda: steps(options(clip_grad_norm=0.01))
    found["averaging, exponential"] = lambda: steps(options(averaging={"start_epoch": 2, "decay": 0.9}))
    found["averaging, of epochs"] = lambda: steps(options(averaging={"start_epoch": 2, "decay": None}))
    found |= {f"augmentation {n}": lambda n=n: augmentation(n) for n in signatures.AUGMENTATIONS.names()}
    found["whitening"] = whitened
    found["normalisation"] = lambda: [torch.tensor(normalisation.channel_statistics(SUBSET), dtype=torch.float64)]
    found["calibration"] = calibrated
    found["evaluation"] = evaluation
    found["the C library"] = c_library
    found["NumPy"] = numpy
    return found


def main() -> None:
    with devices.repeatable(torch.device("cpu"), 2):
        for name, operation in sorted(operations().items()):
            digest = hashlib.sha256()
            for value in operation():
                digest.update(value.detach().contiguous().numpy().tobytes())
            print(f"{digest.hexdigest()[:32]} {name}", flush=True)


if __name__ == "__main__":
    main()
