"""Draw the pictures of a sweep: optimisation history and parameter importance."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from imagetrail import drawing

COLOURS = {TrialState.COMPLETE: "#4878a8", TrialState.PRUNED: "#bbbbbb"}


def history(path: Path, trials: Sequence[FrozenTrial], *, minimised: bool) -> Path:
    """Draw the objective of each trial, and the best one so far."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for state, colour in COLOURS.items():
        shown = [(t.number, t.value) for t in trials if t.state == state and t.value is not None]
        numbers, values = np.array(shown, float).reshape(-1, 2).T
        axes.scatter(numbers, values, s=24, color=colour, label=state.name.lower())
    complete = [(t.number, t.value) for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    best = accumulate((value for _, value in complete), min if minimised else max)
    axes.step([number for number, _ in complete], list(best), where="post", color="#e07b39", label="best so far")
    axes.set(xlabel="trial", ylabel="validation " + ("loss" if minimised else "accuracy"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    drawing.plain(axes)
    drawing.save(figure, path)
    return path


def importance(path: Path, study: optuna.Study) -> Path:
    """Draw the share of the objective's variance that each parameter explains (fANOVA, Hutter et al., 2014)."""
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    figure = Figure(figsize=(8, 0.5 * len(shares) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], color="#4878a8")
    axes.set(xlabel="share of the objective's variance", xlim=(0, 1))
    drawing.plain(axes)
    drawing.save(figure, path)
    return path
