"""Stage `download`: the source that params.yaml names -> data/raw, data/pretrained.

Run from the repository root: python -m stages.download
"""

from pathlib import Path

from imagetrail import artifacts
from imagetrail.artifacts import LabelRow
from imagetrail.errors import guard
from imagetrail.params import load_params
from imagetrail.sources import SOURCES, weights
from imagetrail.sources.request import Request


def main(root: Path = Path()) -> None:
    """Fetch, make or list the labelled images, and the weights to start from."""
    params = load_params(root)
    with artifacts.writing_folder(root / artifacts.PRETRAINED) as folder:
        local = root / params.download.weights
        artifacts.write_weights(folder, weights.find(params.model.weights, local, folder))
    with artifacts.writing_folder(root / artifacts.RAW) as folder:
        rows = SOURCES[params.download.source](Request(params.download, root, folder, params.machine.jobs))
        artifacts.write_rows(folder / "labels.csv", LabelRow._fields, rows)


if __name__ == "__main__":
    guard(main)
