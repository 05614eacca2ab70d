"""plots/report.html: the whole evaluation on one page, which opens without a network and is the model's card.

It holds only what follows from the stage's inputs, so that equal inputs give equal bytes. The copy in MLflow has a part
more at RUN_PLACE: the run, its parameters, its environment and the baseline.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetrail.evaluate import paired
from imagetrail.evaluate.explanation import HIDDEN, Explanation
from imagetrail.evaluate.inference import Predictions
from imagetrail.evaluate.slices import Slice
from imagetrail.files import artifacts
from imagetrail.files.artifacts import Dataset
from imagetrail.model.classifier import Card
from imagetrail.pages import render
from imagetrail.params.evaluate import Evaluate

REPORT = "report.html"
RUN_PLACE = "<!-- run -->"
CHARTS = ("learning_curves", "confusion_matrix", "reliability", "mistakes", "map")
"""Of plots/, which the page holds."""
ROWS_SHOWN = 40
"""Largest number of classes or slices in a table."""
MEANINGS = {
    "accuracy": "share of the test images with the right answer",
    "balanced_accuracy": "mean recall over the {balanced_accuracy_classes} classes with test images",
    "macro_f1": "mean F1 over the {macro_f1_classes} classes among labels or answers",
    "auroc": "mean area under the ROC curve of {auroc_classes} classes, each against the rest",
    "top_3": "the truth is among the 3 most probable classes",
    "top_5": "the truth is among the 5 most probable classes",
    "loss": "mean negative log-likelihood, in nats",
    "ece": "expected calibration error: by how much confidence misses accuracy",
    "coverage_95": "how often the set of labels for a coverage of 95 % holds the truth",
    "set_size_95": "mean number of labels in that set",
}
"""The figures of the first table, and what they are."""
UNSTATED = "not stated; see evaluate.{} in params.yaml"


def write(
    root: Path, outputs: Path, card: Card, predictions: Predictions, figures: Mapping[str, Any], found: Sequence[Slice],
    explained: Explanation | str, options: Evaluate,
) -> None:  # fmt: skip
    """Write the page.

    Args:
        root: of the data.
        outputs: whose plots/ gets the page, and holds all pictures of the evaluation and of the data.
        card: of the model.
        predictions: of the test rows.
        figures: metrics/test.json.
        found: the slices, the worst first.
        explained: the heatmaps' test, or why there are none.
        options: section `evaluate` of params.yaml.
    """
    plots, dataset = outputs / artifacts.PLOTS, artifacts.read_dataset(root)
    trained = artifacts.read_metrics(outputs, "train")
    known = paired.wilson(predictions.predicted == predictions.labels)
    values = {
        "title": f"{card.name} on {dataset.source}",
        "subtitle": f"model {card.sha256[:12]}, data {dataset.sha256[:12]}",
        "summary": f"{known.value:.4f} of {figures['n']:,} test images have the right answer; the interval of "
        f"{paired.LEVEL:.0%} is {known.low:.4f} to {known.high:.4f}.",
        "figures": [[n, f"{figures[n]:.4f}", text.format(**figures)] for n, text in MEANINGS.items() if n in figures],
        "card": _card(card, options),
        "data": _data(dataset),
        "data_pictures": [render.picture_file(plots / name) for name in artifacts.DATA_PICTURES],
        "training": [[name.replace("_", " "), _shown(value)] for name, value in trained.items()],
        "pictures": {name: render.picture_file(plots / f"{name}.png") for name in CHARTS},
        "classes": _classes(figures)[:ROWS_SHOWN],
        "classes_left": len(figures["per_class"]) - ROWS_SHOWN,
        "calibration": _calibration(card),
        "explanation": _explanation(explained),
        "slices": found[:ROWS_SHOWN],
        "slices_left": max(0, len(found) - ROWS_SHOWN),
    }
    render.write(plots / REPORT, "report.html", values)


def with_run(text: str, values: Mapping[str, object]) -> str:
    """Return the page with the part about its run; `values` as run.html has them."""
    return text.replace(RUN_PLACE, render.filled("run.html", values), 1)


def _card(card: Card, options: Evaluate) -> list[list[str]]:
    start = "random weights" if card.weights is None else f"the weights {card.weights}"
    size = f"{card.channels} x {card.image_size[0]} x {card.image_size[1]}"
    seen = "" if card.input_size is None else f"; the network sees {card.seen[0]} x {card.seen[1]}"
    return [
        ["intended use", options.intended_use or UNSTATED.format("intended_use")],
        ["licence", options.licence or UNSTATED.format("licence")],
        ["network", f"{card.name}, {card.parameters:,} parameters, from {start}"],
        ["arguments", ", ".join(f"{name} = {value}" for name, value in card.arguments.items())],
        ["input", f"uint8 pixels of {size} (channels, height, width), in values from 0 to 255{seen}"],
        ["answer", f"a probability for each of {len(card.classes):,} classes"],
        ["weights", f"sha256 {card.sha256}"],
    ]


def _data(dataset: Dataset) -> list[list[str]]:
    count, channels, height, width = dataset.shape
    odd = [f"{number:,} {kind}" for kind, number in dataset.findings.items() if number]
    corrected = [f"{number:,} {what}" for what, number in dataset.corrections.items()]
    return [
        ["source", dataset.source],
        ["images", f"{count:,} of {channels} x {height} x {width} in {len(dataset.classes):,} classes"],
        ["health", f"{dataset.rejected:,} images rejected; suspicious: {', '.join(odd) or 'none'}"],
        ["corrections", ", ".join(corrected) or "none"],
        ["digest", f"sha256 {dataset.sha256} of the table of all pixels"],
    ]


def _classes(figures: Mapping[str, Any]) -> list[list[str]]:
    ranked = sorted(figures["per_class"].items(), key=lambda item: (item[1]["n"] == 0, item[1]["recall"]))
    return [[name, *(f"{one[f]:.4f}" for f in ("recall", "precision", "f1")), f"{one['n']:,}"] for name, one in ranked]


def _calibration(card: Card) -> str:
    if card.temperature == 1:
        return (
            "The probabilities are the network's own; train.calibration: temperature fits them to the validation rows."
        )
    return f"The logits are divided by a temperature of {card.temperature:.3f}, fitted to the validation rows."


def _explanation(explained: Explanation | str) -> str:
    if isinstance(explained, str):
        return explained
    tested = explained.deletion
    return (
        f"A heatmap shows what the answer comes from. Tested on {tested.n} images: hiding the hottest {HIDDEN:.0%} of "
        f"each costs {tested.marked:.3f} of the confidence, and hiding as much elsewhere {tested.elsewhere:.3f}."
    )


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
