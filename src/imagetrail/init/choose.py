"""Choose parameters for a data set from what it looks like, each with its reason."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from imagetrail.download.reading import Reading
from imagetrail.init import networks
from imagetrail.init.look import DARK, Look
from imagetrail.init.write import Choice, render
from imagetrail.params.load import Params

SCRATCH_SIDE = 64
"""Side in pixels that larger images are resized to for a network trained from scratch."""
PHOTO_SIDE = 224
"""Side in pixels that the pretrained weights of torchvision were trained on."""
PHOTO = 96
"""Smallest median side in pixels of images that a pretrained backbone gains from."""
FLIPPED = 64
"""Smallest median side in pixels of images that may be flipped unasked."""
FEWEST_EPOCHS, MOST_EPOCHS = 5, 60
AUGMENTED = 10
"""Fewest epochs with augmentation: after 5 epochs of Fashion-MNIST it cost 2 points, on two cores."""
HEAD_EPOCHS = 30
MUCH_FASTER = 1.1
"""How many times as fast bfloat16 must be."""


@dataclass(frozen=True)
class Proposal:
    """A params.yaml with its reasons."""

    data: Sequence[Choice]
    """How the data is read and split, whatever the network."""
    choices: Sequence[Choice]
    """All of them."""
    text: str
    """Of params.yaml."""
    params: Params
    seconds: float
    """Estimate of the training, in seconds."""
    odd: Sequence[str]
    """What a person should look at, in sentences without their full stop."""


class Variant(NamedTuple):
    """A candidate beside the proposal."""

    name: str
    choices: Sequence[Choice]
    text: str
    """Of params.yaml."""
    params: Params


def variants(root: Path, proposal: Proposal, look: Look, minutes: float) -> list[Variant]:
    """Return the proposal and one or two candidates that may suit the data better."""
    model = _value(proposal, "model")
    assert isinstance(model, dict)
    changes: list[tuple[str, Sequence[Choice]]] = [(f"{model['name']}, as proposed", proposal.choices)]
    if model["name"] == "SmallCNN":
        flips = {"name": "RandomHorizontalFlip", "p": 0.5}
        augment = _value(proposal, "train.augment") or []
        assert isinstance(augment, list)
        others, word = (augment[1:], "without") if flips in augment else ([flips, *augment], "with")
        changes.append((f"{word} flips", _changed(proposal, "train.augment", others)))
        wider = model | {"widths": [min(networks.WIDEST, 2 * width) for width in model["widths"]]}
        changes.append(("twice as wide", _changed(proposal, "model", wider)))
    else:
        changes.append(("SmallCNN", _scratch(root, proposal.data, look, minutes, []).choices))
    return [Variant(name, choices, *render(root, choices)) for name, choices in changes]


def _value(proposal: Proposal, name: str) -> object:
    return next(choice.value for choice in proposal.choices if choice.name == name)


def _changed(proposal: Proposal, name: str, value: object) -> list[Choice]:
    reason = "the best after an epoch, on validation rows"
    return [Choice(name, value, reason) if choice.name == name else choice for choice in proposal.choices]


def propose(root: Path, path: str, reading: Reading, look: Look, minutes: float) -> Proposal:
    """Propose parameters.

    Args:
        root: the repository's root.
        path: download.path.
        reading: how to read the data.
        look: what it looks like.
        minutes: time for the training, on this machine.
    """
    odd = [*reading.odd]
    choices = [Choice("download.source", reading.options["source"], reading.reasons["source"])]
    if path != "data/source":
        choices.append(Choice("download.path", path, "the folder of the data"))
    others = [name for name in reading.options if name != "source"]
    choices += [Choice(f"download.{name}", reading.options[name], reading.reasons[name]) for name in others]
    choices += _split(look, odd)
    found = networks.backbone(root / "data/weights") if _is_photo(look) else None
    if found is not None:
        return _frozen(root, choices, found, look, minutes, odd)
    if _is_photo(look):
        odd.append(
            "pretrained weights would help with photographs such as these, and data/weights has none: put a file of "
            "torchvision there, such as mobilenet_v2-7ebf99e0.pth, and run init again; with a network, model: {name: "
            "resnet50, weights: ResNet50_Weights.IMAGENET1K_V2, freeze: true} fetches it"
        )
    return _scratch(root, choices, look, minutes, odd)


def _is_photo(look: Look) -> bool:
    return not look.is_grey and min(look.size) >= PHOTO


def _split(look: Look, odd: list[str]) -> list[Choice]:
    """Choose what the default would refuse: rare classes, rows without an image, groups on two sides."""
    choices = []
    rare = [name for name, count in look.classes.items() if count < 3]
    if rare:
        named = ", ".join(map(repr, rare[:3])) + (f" and {len(rare) - 3} more" if len(rare) > 3 else "")
        choices.append(Choice("split.on_rare", "train", f"{named}: too few images to be tested"))
    if look.missing:
        reason = f"{look.missing} images of the list are not there"
        choices.append(Choice("preprocess.max_rejected", look.missing, reason))
        odd.append(f"{reason}, first {look.first_missing!r}")
    if look.crossing:
        reason = f"{look.crossing} groups are on several sides of the stated split"
        choices.append(Choice("split.on_leak", "drop", f"{reason}; their train images are left out"))
        odd.append(reason)
    for name, reason in list(look.unreadable.items())[:3]:
        odd.append(f"{name!r} of the sample cannot be used: {reason}")
    least, most = min(look.classes.values()), max(look.classes.values())
    if most >= 20 * least:
        odd.append(f"the largest class has {most:,} images, the smallest {least:,}")
    return choices


def _pixels(look: Look, side: int) -> tuple[list[Choice], list[str]]:
    """Choose the size (first), the channels and the range of values; return what is odd, too."""
    height, width = look.size
    same = len(set(look.sizes)) == 1
    seen = f"images of {height} x {width} pixels" + ("" if same else " at the median")
    if side == PHOTO_SIDE:
        choices = [
            Choice("preprocess.image_size", side, f"what the pretrained weights expect; {seen}"),
            Choice("preprocess.short_side", side, "cut from the centre, so that nothing is stretched"),
        ]
    elif same and max(height, width) <= side:
        size: object = height if height == width else [height, width]
        choices = [Choice("preprocess.image_size", size, f"all are {seen}")]
    else:
        fitting = max(8, min(side, min(height, width) // 4 * 4))
        choices = [Choice("preprocess.image_size", fitting, f"{seen}; {fitting} keeps the training fast")]
    grey = "the sample is grey" if look.is_grey else "the sample has colours"
    choices.append(Choice("preprocess.channels", 1 if look.is_grey and side != PHOTO_SIDE else 3, grey))
    if look.extent is None or (not look.needs_range and look.extent[1] >= 65535 * DARK):
        return choices, []
    lowest, highest = look.extent
    if look.needs_range:
        reason = f"values of 32 bits or with a sign, in the sample from {lowest} to {highest}"
        return [*choices, Choice("preprocess.range", [lowest, highest], reason)], [reason]
    top = 2 ** max(8, highest.bit_length()) - 1
    reason = f"16-bit files whose values end at {highest}"
    return [*choices, Choice("preprocess.range", [0, top], reason)], [f"{reason}: read as {top.bit_length()} bits"]


def _frozen(
    root: Path, data: Sequence[Choice], found: tuple[str, str], look: Look, minutes: float, odd: list[str]
) -> Proposal:
    """Propose a frozen backbone; a network from scratch if its features would take too long."""
    name, file = found
    model = {"name": name, "weights": file, "freeze": True, "input_size": None, "views": None}
    pixels, remarks = _pixels(look, PHOTO_SIDE)
    choices = [
        *data,
        *pixels,
        Choice("model", model, f"photographs, and data/weights has {file}: only a new head learns"),
        Choice("train.epochs", HEAD_EPOCHS, "of the head, on features that are computed once"),
        Choice("train.optimizer", {"name": "AdamW", "lr": 0.001, "weight_decay": 0.01}, "for the head"),
        *_machine(),
    ]
    text, params = render(root, choices)
    seconds = look.images / networks.feature_speed(params, len(look.classes))
    if seconds <= 60 * minutes:
        return Proposal(data, choices, text, params, seconds, [*odd, *remarks])
    needed = f"{seconds / 60:.0f}"
    late = f"the features of {name} would take {needed} minutes; --minutes {needed} allows them"
    return _scratch(root, data, look, minutes, [*odd, late])


def _scratch(root: Path, data: Sequence[Choice], look: Look, minutes: float, odd: list[str]) -> Proposal:
    """Propose a small network, trained for as many epochs as the time allows."""
    pixels, remarks = _pixels(look, SCRATCH_SIDE)
    size = pixels[0].value
    height, width = size if isinstance(size, list) else (size, size)
    assert isinstance(height, int) and isinstance(width, int)
    augment: list[dict[str, object]] = []
    flips, why = look.flips, look.flips_reason
    if look.is_grey or min(look.size) < FLIPPED:
        flips, why = False, "no flips, as small or grey images may be signs or digits; --try compares"
    if flips:
        augment.append({"name": "RandomHorizontalFlip", "p": 0.5})
    padding = max(1, min(height, width) // 8)
    augment.append({"name": "RandomCrop", "size": [height, width], "padding": padding, "p": 1.0})
    fixed = [
        *data,
        *pixels,
        Choice("model", networks.small_cnn((height, width)), "narrow first, and down to about 4 x 4 pixels"),
        Choice("train.batch_size", 64 if look.images < 20_000 else 128, f"for {look.images:,} images"),
        Choice("train.optimizer", {"name": "AdamW", "lr": 0.003, "weight_decay": 0.05}, "with one cycle of its rate"),
        Choice("train.schedule", {"name": "OneCycleLR", "pct_start": 0.25}, "warm-up, peak and decay"),
        Choice("train.loss", {"name": "CrossEntropyLoss", "label_smoothing": 0.1}, "smoothed against wrong labels"),
        Choice("train.augment", augment, f"{why}; shifts by up to {padding} pixels"),
        *_machine(),
    ]
    _, params = render(root, fixed)
    speeds = networks.speeds(params, len(look.classes), (height, width))
    faster = speeds["bfloat16"] / speeds["float32"]
    precision: networks.Precision = "bfloat16" if faster >= MUCH_FASTER else "float32"
    trained = max(1, round(look.images * (1 - params.split.test) * (1 - params.split.val)))
    affordable = int(60 * minutes * speeds[precision] / trained)
    epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, affordable))
    seconds = epochs * trained / speeds[precision]
    limit = "what helps" if affordable >= MOST_EPOCHS else f"{minutes:g} minutes"
    few = Choice("train.augment", None, f"{epochs} epochs are too few for changed images to pay")
    whole = [
        *(few if choice.name == few.name and epochs < AUGMENTED else choice for choice in fixed),
        Choice("train.epochs", epochs, f"{limit}: this machine trains on {speeds[precision]:,.0f} images a second"),
        Choice("train.precision", precision, f"bfloat16 is {faster:.1f} times as fast here"),
    ]
    text, params = render(root, whole)
    return Proposal(data, whole, text, params, seconds, [*odd, *remarks])


def _machine() -> list[Choice]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [
        Choice("train.arithmetic", "native", "the fastest here; portable gives the same bits elsewhere"),
        Choice("train.threads", cores, "the cores of this machine"),
    ]
