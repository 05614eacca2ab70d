"""Test a model, and write all that follows from its answers: metrics/test.json and plots/."""

from pathlib import Path

from imagetrail.evaluate import answers, explanation, inference, metrics, pictures, plane, report, slices
from imagetrail.evaluate.explanation import Explanation
from imagetrail.files import artifacts
from imagetrail.files.arrays import Subset
from imagetrail.model.classifier import Classifier
from imagetrail.params.evaluate import Evaluate


def write(root: Path, outputs: Path, model: Classifier, test: Subset, options: Evaluate) -> dict[str, object]:
    """Measure a model on the test rows, which influenced no choice.

    Args:
        root: of the data, for the names of the images.
        outputs: whose metrics/ and plots/ are written; the training's figures and the pictures of the data are there.
        model: of the same classes.
        test: the rows.
        options: section `evaluate` of params.yaml.

    Returns:
        The contents of metrics/test.json.
    """
    plots = outputs / artifacts.PLOTS
    names = artifacts.image_names(root, test.rows.tolist())
    columns = artifacts.read_columns(root, test.rows.tolist())
    with answers.exact(plots, test, names, columns) as keep:
        predictions = inference.predict(model, test, options, keep)
    answers.write_readable(plots, predictions, names, columns)
    mistakes = predictions.mistakes()[: options.mistakes]
    explained = explanation.explain(model, test, predictions, mistakes, options.threads)
    pictures.draw(plots, predictions, test, mistakes, explained, options.calibration_bins)
    figures = metrics.measure(predictions, options.calibration_bins) | answers.auroc(plots / answers.EXACT)
    found = slices.measure(columns, predictions.predicted == predictions.labels)
    if columns:
        figures["slices"] = slices.figures(found)
    if isinstance(explained, Explanation):
        figures |= explained.figures
    artifacts.write_json(outputs / artifacts.METRICS / "test.json", figures)
    plane.draw(plots / "map.png", model, test, predictions, options.threads)
    report.write(root, outputs, model.card, predictions, figures, found, explained, options)
    return figures
