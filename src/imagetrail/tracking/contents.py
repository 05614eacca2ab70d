"""Log the contents of a run from the stages' files, so that a rebuilt run has the same contents."""

import csv
import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from importlib.metadata import distributions, version
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from imagetrail.errors import ParamsError
from imagetrail.files import artifacts
from imagetrail.files.arrays import Subset
from imagetrail.files.artifacts import Dataset
from imagetrail.git import GitState, read_state
from imagetrail.params import recipes
from imagetrail.params.download import Download
from imagetrail.params.load import Params
from imagetrail.params.section import Leaf, leaves
from imagetrail.tracking.calls import LogDataset, LogParams, LogText, SetTags
from imagetrail.tracking.run import Run
from imagetrail.tracking.tags import COMMIT, PARAMS_SHA256

LIBRARIES = ("torch", "torchvision", "mlflow", "dvc", "numpy", "pillow", "scikit-learn")
UNTRACKED_LIMIT = 10 * 2**20
"""Largest total size in bytes of untracked files that a run keeps; git/left_out.txt names the rest."""
NAME_LIMIT = 80


def run_name(root: Path, params: Params) -> str:
    """Name a run after its data, the nearest recipe and what differs from it.

    `mnist-cnn lr=0.01 epochs=5`, `digits default`, or `birds folder-cnn lr=0.01`: section `download` shows as the name
    of the data, which a recipe on its own data does without.
    """
    data = data_name(params.download)
    try:
        name, differences = nearest_recipe(root, params)
    except ParamsError:  # a recipe is being edited
        return f"{data} {params.model.name}"[:NAME_LIMIT]
    shown = [f"{_short(n)}{text(value)}" for n, value in differences.items() if not n.startswith("download.")]
    own = name != recipes.DEFAULT and data == data_name(recipes.params(root, name).download)
    recipe = [] if name == recipes.DEFAULT and shown else [name]
    return " ".join([*([] if own else [data]), *recipe, *shown])[:NAME_LIMIT]


def data_name(options: Download) -> str:
    """Name the data: torchvision's set, the archive, or the folder."""
    if options.source not in OWN_DATA:
        return options.source
    name = (options.archive or options.path).rstrip("/").rpartition("/")[2]
    stem = re.split(r"[.?#]", name)[0]  # an address may end in a query, which may hold a password
    return options.source if stem in ("", "source") else stem


def nearest_recipe(root: Path, params: Params) -> tuple[str, dict[str, Leaf]]:
    """Find the recipe with the fewest differences from the parameters, and return both; LOCAL_PLACES do not count.

    Raises:
        ParamsError: a recipe is wrong.
    """
    found = params.effective()
    best: tuple[str, dict[str, Leaf], int] | None = None
    for name, candidate in recipes.every(root):
        values = dict(leaves(candidate.model_dump(mode="json")))
        ours = {key: value for key, value in found.items() if key not in LOCAL_PLACES and values.get(key) != value}
        missing = len(candidate.effective().keys() - found.keys() - LOCAL_PLACES)
        if best is None or len(ours) + missing < best[2]:
            best = name, ours, len(ours) + missing
    assert best is not None, "the default is always there"
    return best[0], best[1]


OWN_DATA = ("auto", "csv", "folder", "archive", "parquet")
"""Sources that are not a set by themselves."""
LOCAL_PLACES = {"download.path", "download.weights"}
"""Places on this machine, which are not part of a recipe."""


def _short(parameter: str) -> str:
    """Return `lr=` for train.optimizer.lr, and nothing for a name, which needs no prefix."""
    last = parameter.rpartition(".")[2]
    return "" if last == "name" else f"{last}="


def text(value: Leaf) -> str:
    """Format a parameter for MLflow so that YAML reads back the same value; text is quoted where necessary."""
    return value if isinstance(value, str) and _is_plain(value) else json.dumps(value, ensure_ascii=False)


def _is_plain(value: str) -> bool:
    """Return whether YAML reads the text as itself, not as a number, a list or null."""
    try:
        return bool(YAML(typ="safe").load(value) == value)
    except YAMLError:
        return False


def log_params(run: Run, params: Params) -> None:
    """Log the effective parameters, and the canonical set as params.yaml."""
    run.log(LogParams(params={name: text(value) for name, value in params.effective().items()}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        YAML().dump(params.model_dump(mode="json"), path)
        run.log(SetTags(tags={PARAMS_SHA256: artifacts.file_sha256(path)}))
        run.log_files("", [path])


def versions() -> dict[str, str]:
    """Return tags with the versions of Python and of the libraries that decide figures."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def log_environment(run: Run) -> None:
    """Log git commit, dirty flag, patch and untracked files with the sha256 of each, and every installed version."""
    frozen = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()}, key=str.lower)
    run.log(LogText(path="environment/requirements.txt", text="\n".join(frozen) + "\n"))
    state = read_state(run.root)
    if state is None:
        run.log(SetTags(tags={"git.dirty": "unknown: no commit that git reads"}))
        return
    commit = {COMMIT: state.commit, "mlflow.source.git.branch": state.branch}
    run.log(SetTags(tags=commit | {"git.dirty": str(state.dirty).lower()}))
    _log_changes(run, state)


def _log_changes(run: Run, state: GitState) -> None:
    left_out, size = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "git"
        folder.mkdir()
        if state.dirty:
            (folder / "changed.json").write_text(json.dumps(state.changed, indent=2) + "\n", encoding="utf-8")
        if state.patch:
            (folder / "changes.patch").write_bytes(state.patch.encode("utf-8", errors="surrogateescape"))
        for path in state.untracked:
            content = _content(run.root / path, UNTRACKED_LIMIT - size)
            if content is None:
                left_out.append(path.as_posix())
                continue
            size += len(content)
            target = folder / "untracked" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if left_out:
            (folder / "left_out.txt").write_bytes(os.fsencode("\n".join(left_out) + "\n"))
        if any(folder.iterdir()):
            run.log_files("git", [folder])


def _content(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a regular file; None if it is longer than `limit` or cannot be read."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > limit:
            return None
        return path.read_bytes()
    except OSError:
        return None


def log_dataset(run: Run, params: Params, dataset: Dataset) -> None:
    """Log the data set as an input of the run, with the digest of every row's pixels; its page, lists, corrections."""
    source = {"source": params.download.source, "path": params.download.path}
    run.log(LogDataset(name=dataset.source, digest=dataset.sha256[:8], shape=dataset.shape[1:], source=source))
    if dataset.corrections:  # so that runs before and after them differ in what `compare` and the UI list
        run.log(LogParams(params={f"data.{name}": str(count) for name, count in dataset.corrections.items()}))
    tensors = run.outputs / artifacts.TENSORS
    lists = (tensors / name for name in ("dataset.json", "findings.csv", "rejected.csv"))
    pictures = (run.outputs / artifacts.PLOTS / name for name in artifacts.DATA_PICTURES)
    run.log_files("data", [*pictures, *lists])


def log_augmentation(run: Run, params: Params, train: Subset) -> None:
    """Log a picture of augmented train images, if the training augments."""
    if params.train.augment is None:
        return

    from imagetrail.train import preview  # matplotlib is imported only if the training augments

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "augmented.png"
        preview.augmented(path, train, params.train.augment, params.train.seed, params.model.seen_size)
        run.log_files("training", [path])


def log_history(run: Run) -> None:
    """Log every epoch of plots/history.csv, for a run that is rebuilt."""
    path = run.outputs / artifacts.PLOTS / "history.csv"
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            run.log_metrics(epoch_metrics(line), step=int(line["epoch"]))


def epoch_metrics(values: Mapping[str, object]) -> dict[str, float | None]:
    """Rename `train_loss` to `train/loss` and so on, so that the UI groups the charts."""
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
    return {
        "train/lr" if name == "lr" else name.replace("_", "/", 1): None if value in (None, "") else float(str(value))
        for name in names
        for value in [values[name]]
    }


def test_metrics(root: Path) -> dict[str, float | None]:
    """Return the single figures of metrics/test.json as `test/…`."""
    values = artifacts.read_metrics(root, "test")
    names = ("accuracy", "loss", "macro_f1", "ece", "balanced_accuracy", "auroc")
    return {f"test/{name}": values.get(name) for name in names}


def test_rows(root: Path) -> str:
    """Hash the test rows, with the data that they belong to."""
    parts = [artifacts.read_dataset(root).sha256, artifacts.file_sha256(root / artifacts.SPLIT / "test.npy")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def evaluation_key(root: Path, params: Params) -> str:
    """Hash what determines the test figures besides the model: parameters, data and rows."""
    dataset = artifacts.read_dataset(root)
    rows = artifacts.file_sha256(root / artifacts.SPLIT / "test.npy")
    figures = params.evaluate.model_dump(mode="json", exclude={"gate", "registry", "intended_use", "licence"})
    parts = [figures, dataset.sha256, rows]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def describe(run: Run, params: Params, dataset: Dataset, *, tested: bool) -> None:
    """Write the run's description from the files: network, data and results.

    Args:
        run: the run.
        params: its parameters.
        dataset: its data set.
        tested: whether metrics/test.json is of this run's model.
    """
    trained = artifacts.read_metrics(run.outputs, "train")
    figures = [f"**test accuracy {artifacts.read_metrics(run.outputs, 'test')['accuracy']:.4f}**"] if tested else []
    figures += [f"**validation accuracy {trained['val_accuracy']:.4f}**"] if "val_accuracy" in trained else []
    count, channels, height, width = dataset.shape
    lines = [
        ", ".join(figures),
        f"{params.model.name} ({trained['parameters']:,} parameters) on {dataset.source}: {count:,} images of "
        f"{channels}x{height}x{width} in {len(dataset.classes)} classes (digest `{dataset.sha256[:8]}`).",
        f"`{params.train.optimizer.name}` lr {params.train.optimizer.lr:g}, batch {params.train.batch_size}, "
        f"{params.train.epochs} epochs, seed {params.train.seed}, {params.train.precision}.",
        "The report is among the artifacts: `evaluation/report.html`." if tested else "",
    ]
    run.log(SetTags(tags={"mlflow.note.content": "\n\n".join(filter(None, lines))}))
