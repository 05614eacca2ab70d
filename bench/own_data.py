"""Own data at the first try: `python -m bench own-data`.

Each set is put before `imagetrail init PATH` and `dvc repro` in a fresh clone, as a newcomer would; one that needs a
second attempt ends the bench. Two baselines get
the same train and test rows in the same run: a plain script of three convolutions, for as long as our training took,
and a random forest on thumbnails. Real sets come from IMAGETRAIL_TEST_DATA.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import signs
from bench.table import Row

MINUTES = 0.5
"""Time that `init` plans for the training; it trains five epochs at least."""
THUMBNAIL = 24
"""Side in pixels of the forest's images."""
TREES = 200


class Reached(NamedTuple):
    """A set, and what was reached on its test rows."""

    name: str
    seconds: float
    """From the first command to the trained and tested model."""
    training: float
    """Seconds of the training itself."""
    ours: float
    plain: float
    forest: float
    images: int


def measure() -> list[Row]:
    """Measure all real sets and all forms; print each row as it comes."""
    rows = []
    for name, place in _sets():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "data"
            if callable(place):
                folder.mkdir()
                place(folder, signs.signs())
            reached = _try(name, place if isinstance(place, Path) else folder, Path(temporary) / "clone")
        best = max(reached.plain, reached.forest)
        rows.append(
            Row(
                f"{reached.name}: {reached.images:,} images",
                f"{reached.seconds:.0f} s, of which {reached.training:.0f} s training; "
                f"accuracy {reached.ours:.3f}, three convolutions {reached.plain:.3f}, forest {reached.forest:.3f}",
                "at least the baselines",
                reached.ours >= best,
            )
        )
        print(rows[-1], flush=True)
    return rows


def _sets() -> list[tuple[str, object]]:
    folder = os.environ.get("IMAGETRAIL_TEST_DATA")
    real = sorted(path for path in Path(folder).iterdir() if path.is_dir() and path.name != "weights") if folder else []
    return [*((path.name, path.resolve()) for path in real), *signs.FORMS.items()]


def _try(name: str, data: Path, clone: Path) -> Reached:
    subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
    begin = time.perf_counter()
    _run(clone, "imagetrail", "init", str(data), "--minutes", str(MINUTES))
    output = _run(clone, "dvc", "repro")
    seconds = time.perf_counter() - begin
    figures = json.loads((clone / "metrics/test.json").read_text())
    training = _training_seconds(clone, output)
    train, test = _subsets(clone)
    return Reached(
        name, seconds, training, figures["accuracy"], _plain(train, test, training), _forest(train, test),
        len(np.load(clone / "data/tensors/labels.npy", mmap_mode="r")),
    )  # fmt: skip


def _run(folder: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(folder / "src")}  # the clone's package, not that of the environment
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | own
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def _training_seconds(clone: Path, output: str) -> float:
    """Return the seconds of all epochs, from the images per second that MLflow has for each."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}")
    (run,) = client.search_runs(["0"])
    speeds = [metric.value for metric in client.get_metric_history(run.info.run_id, "speed/images_per_second")]
    images = len(np.load(clone / "data/split/train.npy"))
    assert speeds, re.sub(r"\s+", " ", output)[-500:]
    return sum(images / speed for speed in speeds)


Pairs = tuple[np.ndarray, np.ndarray]
"""uint8 [n,C,H,W] images and int64 [n] labels."""


def _subsets(clone: Path) -> tuple[Pairs, Pairs]:
    images, labels = (np.load(clone / f"data/tensors/{name}.npy", mmap_mode="r") for name in ("images", "labels"))
    rows = {name: np.load(clone / f"data/split/{name}.npy") for name in ("train", "val", "test")}
    learnt = np.sort(np.concatenate([rows["train"], rows["val"]]))
    return (images[learnt], labels[learnt]), (images[rows["test"]], labels[rows["test"]])


def _plain(train: Pairs, test: Pairs, seconds: float) -> float:
    """Train three convolutions with Adam for some seconds, as a short script would, at most 64 pixels wide."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)

    def tensor(pixels: np.ndarray) -> torch.Tensor:
        values = torch.from_numpy(pixels.astype(np.float32)) / 255
        side = min(64, *pixels.shape[2:])
        return values if side == pixels.shape[2] == pixels.shape[3] else functional.interpolate(values, (side, side))

    images, labels = tensor(train[0]), torch.from_numpy(np.asarray(train[1]))
    channels, side = images.shape[1], images.shape[2]
    pools = min(3, int(np.log2(side)) - 1)
    layers: list[nn.Module] = []
    for number, width in enumerate((32, 64, 128)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if number < pools else [])]
        channels = width
    flat = channels * (side >> pools) ** 2
    network = nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, int(labels.max()) + 1)
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
            if time.perf_counter() - begin >= seconds:
                break
    network.eval()
    with torch.inference_mode():
        answers = torch.cat([network(batch).argmax(1) for batch in tensor(test[0]).split(512)]).numpy()
    return float((answers == test[1]).mean())


def _forest(train: Pairs, test: Pairs) -> float:
    import torch
    from sklearn.ensemble import RandomForestClassifier
    from torch.nn import functional

    def flat(pixels: np.ndarray) -> np.ndarray:
        side = min(THUMBNAIL, *pixels.shape[2:])
        batches = torch.from_numpy(np.ascontiguousarray(pixels)).split(1024)
        small = [functional.interpolate(b.float(), (side, side), mode="bilinear", antialias=True) for b in batches]
        return torch.cat(small).flatten(1).numpy()

    forest = RandomForestClassifier(TREES, n_jobs=-1, random_state=0).fit(flat(train[0]), train[1])
    return float((forest.predict(flat(test[0])) == test[1]).mean())
