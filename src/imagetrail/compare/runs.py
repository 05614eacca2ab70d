"""Compare runs with the first of them, as a table and as JSON; page.py draws the same as a page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from imagetrail.evaluate import looks, paired
from imagetrail.evaluate.answers import Answers
from imagetrail.evaluate.paired import FIGURES, LEVEL, Comparison, Interval

OF_PAIRS = (
    f"Intervals of {LEVEL:.0%}: Wilson's for an accuracy, Tango's for the difference of two (it agrees with McNemar's "
    "test), percentiles of a bootstrap over the images for loss and macro F1."
)
OF_SEVERAL = (
    f"Intervals of {LEVEL:.0%} over seeds and images: Student's for accuracy and loss, percentiles of a bootstrap over "
    "both for macro F1. Of several trainings, what most of them answer counts as an answer."
)
"""What the intervals are, of two single trainings and where a side has several."""


def intervals(found: Comparison) -> str:
    """Say what the intervals of a comparison are."""
    return OF_PAIRS if found.trainings == (1, 1) else OF_SEVERAL


def about(found: Comparison) -> str:
    """Say how many images a comparison covers, and which it had to leave out."""
    text = f"{found.n} test images in both runs."
    if found.relabelled:
        text += f" {found.relabelled} more had another label in one of them and are left out."
    return text


@dataclass(frozen=True)
class LoggedRun:
    """A run's values that a comparison needs."""

    id: str
    name: str
    parameters: Mapping[str, str]
    """Logged parameters, in MLflow's text form."""
    digest: str | None
    """First 8 digits of the data set's sha256."""
    test_rows: str | None
    """Digest of the test rows; None for runs of versions that did not note it."""
    answers: list[Answers]
    """Of the run's model; of each of the models, if it is a run of replicates."""


@dataclass(frozen=True)
class Report:
    """The comparison of a first run with others."""

    runs: list[str]
    """Ids."""
    names: list[str]
    digest: str | None
    """First 8 digits of the sha256 of the first run's data set."""
    parameters: Mapping[str, list[str | None]]
    """Parameters that differ: one value per run, None if the run lacks the parameter."""
    looks: int | None
    """Models that were tested on the first run's test rows."""
    comparisons: list[Comparison]
    """The first run compared with each of the others."""

    @property
    def ledger(self) -> str:
        """State how often the test rows have judged models, or nothing if that was not counted."""
        if self.looks is None or not self.comparisons:
            return ""
        found = self.comparisons[0]
        return looks.sentence(self.looks, found.n, (found.only_first + found.only_second) / found.n)

    def text(self) -> str:
        """Format the report for a terminal."""
        lines = []
        if self.parameters:
            lines += _columns([["parameter", *self.names], *([n, *map(dash, v)] for n, v in self.parameters.items())])
        else:
            lines.append("All logged parameters are equal.")
        for name, found in zip(self.names[1:], self.comparisons, strict=True):
            lines += ["", f"{name} against {self.names[0]}: {about(found)}"]
            rows = [["", self.names[0], name, "difference"]]
            rows += [[figure, *map(shown, found.figures[figure])] for figure in FIGURES]
            lines += _columns(rows)
            lines.append(intervals(found))
            only = f"Only the first is correct on {found.only_first} images, only the second on {found.only_second}"
            lines.append(f"{only}: {found.verdict()}.")
            changed = {n: (a, b) for n, (a, b) in found.recalls.items() if a != b}
            if changed:
                lines += _columns(
                    [["recall of", "first", "second"], *([n, f"{a:.4f}", f"{b:.4f}"] for n, (a, b) in changed.items())]
                )
        return "\n".join([*lines, *([self.ledger] if self.ledger else [])])

    def json(self) -> str:
        """Return everything as JSON."""
        comparisons = [
            asdict(found) | {"figures": {n: [i._asdict() for i in three] for n, three in found.figures.items()},
                             "disagreements": [d._asdict() for d in found.disagreements]}
            for found in self.comparisons
        ]  # fmt: skip
        return json.dumps(
            {"runs": self.runs, "names": self.names, "parameters": dict(self.parameters), "looks": self.looks,
             "comparisons": comparisons},
            indent=2, ensure_ascii=False,
        )  # fmt: skip


def report(runs: Sequence[LoggedRun], judged: int | None) -> Report:
    """Compare the first run with every other one.

    Args:
        runs: two or more.
        judged: models that were tested on the first run's test rows; None if they were not counted.

    Raises:
        DataError: the runs cannot be compared.
    """
    first, *others = runs
    every = {name: [run.parameters.get(name) for run in runs] for run in runs for name in run.parameters}
    return Report(
        runs=[run.id for run in runs],
        names=[run.name for run in runs],
        digest=first.digest,
        looks=judged,
        parameters={name: values for name, values in sorted(every.items()) if len({*map(_unquoted, values)}) > 1},
        comparisons=paired.compare_all(first.answers, [other.answers for other in others]),
    )


def _unquoted(value: str | None) -> str | None:
    """Strip the shell quotes with which `mlflow run` logs typed values."""
    return value if value is None else value.strip("'")


def dash(value: str | None) -> str:
    """Show a parameter, or a dash if the run has none."""
    return "–" if value is None else value


def shown(interval: Interval) -> str:
    """Show a figure with its interval."""
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
