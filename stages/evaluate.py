"""Stage `evaluate`: model + test rows -> metrics/test.json, plots/*; the same MLflow run.

Run from the repository root: python -m stages.evaluate
"""

from pathlib import Path

from imagetrail.errors import guard
from imagetrail.model import arithmetic
from imagetrail.params.load import load_params


def main(root: Path = Path()) -> None:
    """Measure the model on the test rows, which influenced no choice."""
    from imagetrail.evaluate import answers, evaluation, gate
    from imagetrail.files import arrays, artifacts
    from imagetrail.model import classifier
    from imagetrail.tracking.registry import baseline
    from imagetrail.tracking.stages import log_evaluation

    params = load_params(root)
    artifacts.check_tensors(root, "images.npy", "labels.npy", "rows.csv")
    test, model = arrays.open_subset(root, "test"), classifier.load(root / artifacts.MODELS)
    figures = evaluation.write(root, root, model, test, params.evaluate)
    predictions = root / artifacts.PLOTS / answers.EXACT
    decision = gate.check(figures, params.evaluate.gate, predictions, lambda: baseline(root, params.evaluate))
    log_evaluation(root, params, test, decision)
    gate.enforce(decision)


if __name__ == "__main__":
    guard(lambda: arithmetic.run(main, load_params(Path()).train.arithmetic))
