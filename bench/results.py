"""The page of results and its picture, made from docs/results.json, which holds one record for each training."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure as Picture
from matplotlib.ticker import EngFormatter

from imagetrail import drawing

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORDS, PAGE, PICTURE = DOCS / "results.json", DOCS / "results.md", DOCS / "images" / "results.png"
HEADER = """# Results

Recipes on the test images of their data sets, which chose nothing but where [experiments.md](experiments.md) says
so. `make figures` trains for what is missing here and rewrites this page from [results.json](results.json), which has
the figure of each seed. Several seeds give mean ± standard deviation. Parameters include frozen ones, multiply-adds
are those of one answer, and seconds those of a whole run with all stages, on a machine that other work may share.
Joules are the processor's, where the machine has counters for them.

![Test accuracy of every recipe against its parameters and the seconds of its run](images/results.png)

"""
COLUMNS = ("recipe", "data", "test accuracy", "seeds", "parameters", "multiply-adds", "seconds", "joules", "machine")
DATA = "$IMAGETRAIL_TEST_DATA"


@dataclass(frozen=True)
class Result:
    """One training of a recipe."""

    recipe: str
    data: str
    """Folder of IMAGETRAIL_TEST_DATA."""
    seed: int
    overrides: dict[str, str]
    """Parameters beside the recipe's, of which `$IMAGETRAIL_TEST_DATA` begins those of files."""
    settings: str
    """Digest of the recipe and the overrides."""
    accuracy: float
    """Of the test rows."""
    parameters: int
    multiply_adds: int
    seconds: float
    """From the start to the end of the run."""
    joules: float | None
    machine: str
    commit: str
    date: str

    @property
    def row(self) -> tuple[str, str, str]:
        """What results must share to be seeds of one figure."""
        return self.recipe, self.data, self.settings


def read() -> list[Result]:
    """Return the records."""
    return [Result(**record) for record in json.loads(RECORDS.read_text(encoding="utf-8"))]


def write(results: Sequence[Result]) -> None:
    """Write the records, the page and the picture."""
    ordered = sorted(results, key=lambda result: (result.row, result.seed))
    RECORDS.write_text(json.dumps([asdict(result) for result in ordered], indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(ordered), encoding="utf-8")
    draw(ordered, PICTURE)


def rows(results: Sequence[Result]) -> list[list[Result]]:
    """Return the seeds of each figure, by recipe and data."""
    names = sorted({result.row for result in results})
    return [[result for result in results if result.row == name] for name in names]


def page(results: Sequence[Result]) -> str:
    """Format docs/results.md."""
    lines = [HEADER + f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    commands = []
    for seeds in rows(results):
        lines.append(f"| {' | '.join(_cells(seeds))} |")
        commands += _commands(seeds)
    return "\n".join([*lines, "", "## To repeat a row", "", *TO_REPEAT, "", "```", *commands, "```", ""])


TO_REPEAT = [
    "In a clean clone, with its .venv active. `IMAGETRAIL_TEST_DATA` is the folder with a subfolder for each data set",
    "and the weights; cifar10/ has the 60,000 images as Parquet files, train-… and test-…, of columns image and label.",
]


def _cells(seeds: Sequence[Result]) -> list[str]:
    accuracies = [100 * result.accuracy for result in seeds]
    spread = f" ± {statistics.stdev(accuracies):.2f}" if len(seeds) > 1 else ""
    joules = [result.joules for result in seeds if result.joules is not None]
    return [
        seeds[0].recipe,
        seeds[0].data,
        f"{statistics.mean(accuracies):.2f}{spread} %",
        ", ".join(str(result.seed) for result in seeds),
        f"{seeds[0].parameters:,}",
        f"{seeds[0].multiply_adds:,}",
        f"{statistics.mean(result.seconds for result in seeds):,.0f}",
        f"{statistics.mean(joules):,.0f}" if joules else "",
        ", ".join(sorted({f"{result.machine} ({result.date})" for result in seeds})),
    ]


def _commands(seeds: Sequence[Result]) -> list[str]:
    found = []
    for commit in sorted({result.commit for result in seeds}):
        numbers = ", ".join(str(result.seed) for result in seeds if result.commit == commit)
        given = {"recipe": seeds[0].recipe, "train.seed": "SEED"} | seeds[0].overrides
        words = " ".join(f'-P {name}="{value}"' if set(value) & set("[$ ") else f"-P {name}={value}"
                         for name, value in given.items())  # fmt: skip
        found += [
            f"# {seeds[0].recipe}, {seeds[0].data}, SEED {numbers}",
            f"git checkout {commit[:12]} && make setup && mlflow run . --env-manager local {words}",
        ]
    return found


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw accuracy, on a scale of odds, against parameters and against seconds, a colour for each data set."""
    figure = Picture(figsize=(12, 7), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    sets = sorted({result.data for result in results})
    for axes, name, label in ((left, "parameters", "parameters"), (right, "seconds", "seconds of a run, all stages")):
        for seeds in rows(results):
            x = statistics.mean(getattr(result, name) for result in seeds)
            accuracies = [result.accuracy for result in seeds]
            y, colour = statistics.mean(accuracies), f"C{sets.index(seeds[0].data)}"
            axes.plot([x, x], [min(accuracies), max(accuracies)], color=colour, linewidth=1)
            axes.plot(x, y, "o", color=colour, markersize=5)
            axes.annotate(
                seeds[0].recipe, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=7, color=colour
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.set_xlabel(label)
        axes.margins(x=0.05)
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** 0.18)  # room for the names on the right
        drawing.plain(axes)
    left.set_yscale("logit")
    left.set_ylim(0.1, 0.9985)
    ticks = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998]
    left.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    left.set_yticks([], minor=True)
    left.set_ylabel("test accuracy")
    handles = [left.plot([], [], "o", color=f"C{number}")[0] for number in range(len(sets))]
    figure.legend(handles, sets, loc="outside lower center", ncols=len(sets), frameon=False, fontsize=8)
    drawing.save(figure, path)
