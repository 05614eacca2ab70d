"""Stage `download`: the source that params.yaml names -> data/raw, data/lines, data/pretrained.

Run from the repository root: python -m stages.download
"""

from pathlib import Path

from imagetrail.download import labels, sources, weights
from imagetrail.download.job import SourceJob
from imagetrail.errors import guard
from imagetrail.files import artifacts
from imagetrail.files.artifacts import LabelRow, LineRow
from imagetrail.params.load import load_params


def main(root: Path = Path()) -> None:
    """Fetch, make or list the labelled images, and the weights to start from."""
    params = load_params(root)
    with artifacts.writing_folder(root / artifacts.PRETRAINED) as folder:
        local = root / params.download.weights
        artifacts.write_weights(folder, weights.find(params.model.weights, local, folder))
    with (
        artifacts.writing_folder(root / artifacts.RAW) as folder,
        artifacts.writing_folder(root / artifacts.LINES) as lines,
    ):
        artifacts.write_rows(lines / "lines.csv", LineRow._fields, ())
        source, rows = sources.load(SourceJob(params.download, root, folder, params.machine.jobs, lines))
        artifacts.write_source(folder, source)
        artifacts.write_rows(folder / "labels.csv", LabelRow._fields, labels.watched(rows))


if __name__ == "__main__":
    guard(main)
