"""Stage `evaluate`: model + test rows -> metrics/test.json, plots/*; the same MLflow run.

Run from the repository root: python -m stages.evaluate
"""

from pathlib import Path

from imagetrail.errors import guard
from imagetrail.model import arithmetic
from imagetrail.params.load import load_params


def main(root: Path = Path()) -> None:
    """Measure the model on the test rows, which influenced no choice."""
    from imagetrail.evaluate import answers, gate, inference, metrics, pictures
    from imagetrail.files import arrays, artifacts
    from imagetrail.model import classifier
    from imagetrail.tracking.registry import baseline
    from imagetrail.tracking.stages import log_evaluation

    params = load_params(root)
    artifacts.check_tensors(root, "images.npy", "labels.npy", "rows.csv")
    test = arrays.open_subset(root, "test")
    model, plots = classifier.load(root / artifacts.MODELS), root / artifacts.PLOTS
    names = artifacts.image_names(root, test.rows.tolist())
    with answers.exact(plots, test, names) as keep:
        predictions = inference.predict(model, test, params.evaluate, keep)
    answers.write_readable(plots, predictions, names)
    figures = metrics.measure(predictions, params.evaluate.calibration_bins)
    pictures.draw(plots, predictions, test, params.evaluate.mistakes)
    artifacts.write_json(root / artifacts.METRICS / "test.json", figures)
    reasons = gate.check(figures, params.evaluate.gate, plots / answers.EXACT, lambda: baseline(root, params.evaluate))
    log_evaluation(root, params, test, reasons)
    gate.enforce(reasons)


if __name__ == "__main__":
    guard(lambda: arithmetic.run(main, load_params(Path()).train.arithmetic))
