"""Stage `evaluate`: model + test rows -> metrics/test.json, plots/*; the same MLflow run.

Run from the repository root: python -m stages.evaluate
"""

from pathlib import Path

from imagetrail import arrays, artifacts, classifier, evaluation, pictures
from imagetrail.errors import guard
from imagetrail.params import load_params
from imagetrail.tracking.training import log_evaluation


def main(root: Path = Path()) -> None:
    """Measure the model on the rows that chose nothing."""
    params = load_params(root)
    test = arrays.open_subset(root, "test")
    predictions = evaluation.predict(classifier.load(root / artifacts.MODELS), test, params.evaluate)
    metrics = evaluation.measure(predictions, params.evaluate.calibration_bins)
    plots = root / artifacts.PLOTS
    evaluation.write_predictions(plots / "predictions.csv", predictions, root)
    pictures.confusion_matrix(plots / "confusion_matrix.png", predictions)
    pictures.learning_curves(plots / "learning_curves.png", plots / "history.csv")
    pictures.samples(plots / "samples.png", test)
    pictures.mistakes(plots / "mistakes.png", predictions, test, params.evaluate.mistakes)
    artifacts.write_json(root / artifacts.METRICS / "test.json", metrics)
    log_evaluation(root, params, test)


if __name__ == "__main__":
    guard(main)
