"""Stage `split`: data/tensors -> data/split/train.npy, val.npy, test.npy, leaks.csv.

Run from the repository root: python -m stages.split
"""

from pathlib import Path

import numpy as np

from imagetrail.errors import guard
from imagetrail.files import artifacts
from imagetrail.params.load import load_params
from imagetrail.split import splits


def main(root: Path = Path()) -> None:
    """Choose rows; pixels are not copied."""
    params = load_params(root)
    artifacts.check_tensors(root, "rows.csv")
    sides, leaks = splits.split_rows(root, params.split)
    for name, rows in sides.items():
        with artifacts.writing(root / artifacts.SPLIT / f"{name}.npy") as path, path.open("wb") as file:
            np.save(file, rows)
    artifacts.write_rows(root / artifacts.SPLIT / "leaks.csv", splits.Leak._fields, leaks)


if __name__ == "__main__":
    guard(main)
