"""The logged copy of plots/report.html, which also tells the run, its parameters, its environment and the baseline."""

import shlex
from collections.abc import Mapping

from imagetrail.compare.runs import about, intervals, shown
from imagetrail.errors import ParamsError
from imagetrail.evaluate import looks, report
from imagetrail.evaluate.paired import FIGURES, Comparison
from imagetrail.files import artifacts
from imagetrail.git import GitState, read_state
from imagetrail.params import recipes
from imagetrail.params.load import Params
from imagetrail.tracking import contents, registry
from imagetrail.tracking.calls import LogText
from imagetrail.tracking.run import Run
from imagetrail.tracking.tags import DEVICE


def log(run: Run, params: Params, folder: str, against: Comparison | None) -> None:
    """Log the page, if it is there, to a folder of the run's artifacts.

    Args:
        run: whose outputs hold the page.
        params: of the evaluation.
        folder: of the artifacts.
        against: the model compared with evaluate.gate.baseline; None without one.
    """
    path = run.outputs / artifacts.PLOTS / report.REPORT
    if not path.is_file():  # as the pictures may be, where only a part of the outputs was pulled
        return
    with artifacts.reading(path, "evaluate"):
        page = path.read_text(encoding="utf-8")
    state = read_state(run.root)
    values = {
        "about": _about(run, params, state),
        "commands": "\n".join(_commands(run, params, state)),
        "against": None if against is None else _against(params, against),
        "parameters": [[name, contents.text(value)] for name, value in params.effective().items()],
        "environment": [[name, value] for name, value in contents.versions().items()],
    }
    run.log(LogText(path=f"{folder}/{report.REPORT}", text=report.with_run(page, values)))


def ledger(run: Run) -> str:
    """State how often the test rows have judged models; empty if this is the first, or the store does not tell."""
    figures = artifacts.read_metrics(run.outputs, "test")
    judged = run.ask(lambda client: registry.looks(client, contents.test_rows(run.outputs))) or 1
    if judged == 1:
        return ""
    return looks.sentence(judged, figures["n"], looks.independent(figures["accuracy"]))


def _about(run: Run, params: Params, state: GitState | None) -> list[list[str]]:
    commit = "none" if state is None else f"{state.commit}{', with changes' if state.dirty else ''}"
    run_id = run.id
    tags = run.ask(lambda client: client.get_run(run_id).data.tags) if run_id is not None else None
    return [
        ["name", contents.run_name(run.root, params)],
        ["run", run_id or "not known: the store was away"],
        ["commit", commit],
        ["device", (tags or {}).get(DEVICE, "not known")],
        ["test images", ledger(run) or "These test images have judged one model."],
    ]


def _commands(run: Run, params: Params, state: GitState | None) -> list[str]:
    lines = [] if run.id is None else [f"imagetrail reproduce {run.id}"]
    try:
        name, differences = contents.nearest_recipe(run.root, params)
    except ParamsError:  # a recipe is being edited
        return lines
    first = [] if name == recipes.DEFAULT else [f"recipe={name}"]
    changes = [*first, *(f"{parameter}={contents.text(value)}" for parameter, value in differences.items())]
    checkout = [] if state is None else [f"git checkout {state.commit}"]
    return [*lines, *checkout, " ".join(["mlflow run .", *(f"-P {shlex.quote(change)}" for change in changes)])]


def _against(params: Params, found: Comparison) -> Mapping[str, object]:
    assert params.evaluate.gate is not None, "it names the baseline"
    return {
        "name": params.evaluate.gate.baseline,
        "about": f"{about(found)} {found.verdict()}. {intervals(found)}",
        "figures": [[figure, *map(shown, found.figures[figure])] for figure in FIGURES],
    }
