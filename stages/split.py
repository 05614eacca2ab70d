"""Stage `split`: data/tensors -> data/split/train.npy, val.npy, test.npy.

Run from the repository root: python -m stages.split
"""

from pathlib import Path

import numpy as np

from imagetrail import artifacts, splits
from imagetrail.errors import guard
from imagetrail.params import load_params


def main(root: Path = Path()) -> None:
    """Choose rows; pixels stay where they are."""
    params = load_params(root)
    with artifacts.writing_folder(root / artifacts.SPLIT) as folder:
        for name, rows in splits.split_rows(root, params.split).items():
            np.save(folder / f"{name}.npy", rows)


if __name__ == "__main__":
    guard(main)
