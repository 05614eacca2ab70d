"""The loop: repeatable to the bit, resumable to the bit, and clear about what it refuses."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import make_subset, options

from imagetrail.errors import TrainingError
from imagetrail.files.arrays import Subset
from imagetrail.model.classifier import Card
from imagetrail.params.model import Model
from imagetrail.train import checkpoints, loop, normalisation
from imagetrail.train.batches import shuffled_batches
from imagetrail.train.checkpoints import Checkpoints
from imagetrail.train.loop import Task, Trained


@pytest.fixture(scope="module")
def subsets() -> tuple[Subset, Subset]:
    """Two classes that differ in which half is bright."""
    random = np.random.default_rng(0)
    images = random.integers(0, 128, (203, 1, 8, 8), dtype=np.uint8)
    labels = random.integers(0, 2, 203).tolist()
    for image, label in zip(images, labels, strict=True):
        image[:, :, label * 4 : label * 4 + 4] += 100
    classes = ["left", "right"]
    return make_subset(images, labels, list(range(160)), classes), make_subset(
        images, labels, list(range(160, 203)), classes
    )


def fit(subsets: tuple[Subset, Subset], folder: Path, on_epoch=lambda epoch, speed: None, **changes: object) -> Trained:
    train, val = subsets
    return loop.fit(Task(small(train), None, train, val, folder), options(**changes), Checkpoints(folder), on_epoch)


def small(train: Subset, **changes: object) -> Card:
    model = {"name": "SmallCNN", "weights": None, "widths": [4, 8], "dropout": 0.3} | changes
    return normalisation.new_card(Model.model_validate(model), None, None, train)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(trained.classifier.state_dict())


def equal(a: Trained, b: Trained) -> bool:
    return weights(a).keys() == weights(b).keys() and all(torch.equal(weights(a)[k], weights(b)[k]) for k in weights(a))


def test_training_learns_and_is_bit_reproducible(subsets, tmp_path: Path) -> None:
    first = fit(subsets, tmp_path / "a", epochs=5)
    torch.manual_seed(123)  # whatever the global state is
    second = fit(subsets, tmp_path / "b", epochs=5)
    assert equal(first, second)
    assert first.history == second.history
    assert first.kept.val_accuracy > 0.9
    assert not equal(first, fit(subsets, tmp_path / "c", epochs=5, seed=1))


def test_metrics_belong_to_the_kept_epoch(subsets, tmp_path: Path) -> None:
    trained = fit(subsets, tmp_path, keep="best")
    metrics = trained.metrics()
    assert list(metrics) == [
        "epochs", "kept_epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "parameters",
        "multiply_adds",
    ]  # fmt: skip
    kept = trained.history[metrics["kept_epoch"] - 1]
    assert metrics["epochs"] == len(trained.history) == 3
    assert (metrics["train_loss"], metrics["val_accuracy"]) == (kept.train_loss, kept.val_accuracy)
    assert kept.val_accuracy == max(epoch.val_accuracy for epoch in trained.history)


def test_checkpoint_keys_hash_every_file_that_affects_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(checkpoints.__file__).parents[1]
    expected = {
        file
        for name in checkpoints.DECISIVE
        for file in ((package / name).rglob("*.py") if (package / name).is_dir() else [package / name])
    }
    assert {package / "train/loop.py", package / "params/train.py", package / "model/classifier.py"} <= expected
    read: list[Path] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or real(path))
    before = checkpoints.source_sha256()
    assert set(read) == expected
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + b"#" * (path.name == "mlp.py"))
    assert checkpoints.source_sha256() != before


def test_training_leaves_global_state_unchanged(subsets, tmp_path: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    fit(subsets, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


EVERYTHING = {
    "optimizer": {"name": "SGD", "lr": 0.05, "momentum": 0.9},
    "schedule": {"name": "OneCycleLR"},
    "averaging": {"start_epoch": 2, "decay": 0.9},
    "augment": [{"name": "RandomAffine", "degrees": 5.0}],
}
WARM = {"warmup_epochs": 2, "averaging": {"start_epoch": 2, "decay": None}}


@pytest.mark.parametrize("killed_after", [1, 2, 3])
@pytest.mark.parametrize(
    "changes", [{"keep": "best"}, {"keep": "last"}, EVERYTHING, WARM], ids=["best", "last", "everything", "warm-up"]
)
def test_a_killed_training_ends_with_the_same_weights(
    subsets, tmp_path: Path, killed_after: int, changes: dict
) -> None:
    whole = fit(subsets, tmp_path / "whole", epochs=4, **changes)

    def kill(epoch: loop.Epoch, speed: float | None) -> None:
        if epoch.epoch == killed_after + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(subsets, tmp_path / "killed", kill, epochs=4, **changes)
    seen: list[tuple[int, bool]] = []
    resumed = fit(subsets, tmp_path / "killed", lambda e, s: seen.append((e.epoch, s is None)), epochs=4, **changes)
    assert seen == [(n, n <= killed_after) for n in range(1, 5)]
    assert equal(whole, resumed)
    assert whole.history == resumed.history
    assert whole.kept == resumed.kept


def test_a_damaged_checkpoint_is_skipped(subsets, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = fit(subsets, tmp_path)
    files = sorted(tmp_path.glob("*.pt"))
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:-1])
    seen: list[int] = []
    assert equal(whole, fit(subsets, tmp_path, lambda e, s: seen.append(e.epoch) if s is not None else None))
    assert seen == [3]
    assert "is corrupt; skipping it" in capsys.readouterr().err


def test_checkpoints_belong_to_one_training(subsets, tmp_path: Path) -> None:
    train, val = subsets
    card = small(train)
    folders = {
        str(checkpoints.of_training(tmp_path, *arguments)._folder)
        for arguments in [
            (card, train, val, options()),
            (card, train, val, options(seed=1)),
            (card, val, train, options()),
            (small(train, widths=[5]), train, val, options()),
        ]
    }
    assert len(folders) == 4


def test_the_best_epoch_is_kept(subsets, tmp_path: Path) -> None:
    trained = fit(subsets, tmp_path, keep="best", epochs=6, optimizer={"name": "SGD", "lr": 0.5})
    best = max(trained.history, key=lambda e: (e.val_accuracy, -e.val_loss))
    assert trained.kept == best
    val = subsets[1]
    with torch.inference_mode():
        answers = trained.classifier(torch.from_numpy(val.images[val.rows])).argmax(1).numpy()
    assert (answers == val.labels[val.rows]).mean() == pytest.approx(best.val_accuracy)


def test_the_last_epoch_is_kept_without_validation(subsets, tmp_path: Path) -> None:
    train, _ = subsets
    empty = make_subset(train.images, train.labels.tolist(), [], ["left", "right"])
    trained = fit((train, empty), tmp_path, keep="last")
    assert trained.kept == trained.history[-1]
    assert trained.kept.val_accuracy is None
    assert "val_accuracy" not in trained.metrics()


def test_cosine_spans_the_whole_training(subsets, tmp_path: Path) -> None:
    rates = [epoch.lr for epoch in fit(subsets, tmp_path, epochs=4).history]
    assert rates == pytest.approx([0.003 * (1 + np.cos(np.pi * n / 4)) / 2 for n in range(4)])


def test_averaged_weights_are_validated_and_kept(subsets, tmp_path: Path) -> None:
    plain = fit(subsets, tmp_path / "plain", epochs=3)
    averaged = fit(subsets, tmp_path / "averaged", epochs=3, averaging={"start_epoch": 3, "decay": 0.5})
    assert plain.history[:2] == averaged.history[:2], "before its first epoch the average is the weights themselves"
    assert plain.history[2].train_loss == averaged.history[2].train_loss
    assert plain.history[2].val_loss != averaged.history[2].val_loss
    assert not equal(plain, averaged)
    val = subsets[1]
    with torch.inference_mode():
        logits = averaged.classifier(torch.from_numpy(val.images[val.rows]))
    labels = torch.from_numpy(val.labels[val.rows])
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
    assert (loss, accuracy) == pytest.approx((averaged.kept.val_loss, averaged.kept.val_accuracy))


def test_patience_stops_a_training_that_does_not_improve(subsets, tmp_path: Path) -> None:
    trained = fit(subsets, tmp_path, epochs=50, patience=2, keep="best", optimizer={"name": "SGD", "lr": 0.5})
    ranks = [(epoch.val_accuracy, -epoch.val_loss) for epoch in trained.history]
    assert len(ranks) < 50
    assert len(ranks) - 1 - ranks.index(max(ranks)) == 2
    assert trained.kept == trained.history[ranks.index(max(ranks))]


def test_long_gradients_are_clipped(subsets, tmp_path: Path, monkeypatch) -> None:
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters, limit: float):
        listed = list(parameters)
        clip(listed, limit)
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in listed])))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    fit(subsets, tmp_path, clip_grad_norm=0.01)
    assert norms
    assert max(norms) <= 0.01 * 1.001


def test_max_params_is_enforced_before_the_first_batch(subsets, tmp_path: Path) -> None:
    count = fit(subsets, tmp_path / "a").metrics()["parameters"]
    fit(subsets, tmp_path / "b", max_params=count)
    seen: list[object] = []
    with pytest.raises(TrainingError, match=rf"has {count} parameters and train\.max_params = {count - 1}; make it"):
        fit(subsets, tmp_path / "c", lambda *epoch: seen.append(epoch), max_params=count - 1)
    assert seen == []


def test_training_accepts_mixed_labels(subsets, tmp_path: Path) -> None:
    trained = fit(subsets, tmp_path, epochs=6, augment=[{"name": "RandomMixUpV2", "lambda_val": [0.0, 0.4]}])
    assert trained.kept.val_accuracy > 0.9


def test_metrics_contain_the_models_cost(subsets, tmp_path: Path) -> None:
    assert fit(subsets, tmp_path).metrics()["multiply_adds"] == 9 * 4 * 64 + 9 * 4 * 8 * 16 + 8 * 2


def test_the_learning_rate_is_constant_without_a_schedule(subsets, tmp_path: Path) -> None:
    assert {epoch.lr for epoch in fit(subsets, tmp_path, schedule=None).history} == {0.003}


def test_a_first_layer_is_made_from_train_rows_only(subsets, tmp_path: Path) -> None:
    train, val = subsets
    model = {"name": "WhitenedCNN", "widths": [4, 8], "convolutions": 2, "dropout": None}

    def filters(folder: str, train: Subset) -> torch.Tensor:
        task = Task(small(train, **model), None, train, val, tmp_path)
        trained = loop.fit(task, options(epochs=1), Checkpoints(tmp_path / folder), lambda epoch, speed: None)
        return trained.classifier.network.whitening.weight

    darker = np.where(np.isin(np.arange(len(train.images)), train.rows)[:, None, None, None], train.images, 0)
    found = filters("all", train)
    assert torch.equal(found, filters("darker", replace(train, images=darker))), "val rows have no part in it"
    assert not torch.equal(found, filters("fewer", replace(train, rows=train.rows[:80]))), "and train rows have"


def test_bfloat16_trains(subsets, tmp_path: Path) -> None:
    trained = fit(subsets, tmp_path, precision="bfloat16", epochs=5)
    assert trained.kept.val_accuracy > 0.9
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(trained).values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": {"name": "SGD", "lr": 1e30}},
            r"the loss is (nan|inf) in epoch 1; lower train\.optimizer\.lr = 1e\+30",
        ),
        (
            {"optimizer": {"name": "SGD", "lr": 1e30}, "batch_size": 10_000},  # one step, after the loss was measured
            r"the validation loss is (nan|inf) in epoch 1; lower train\.optimizer\.lr",
        ),
        ({"optimizer": {"name": "AdamW", "lr": 0.1, "weight_decay": -1.0}}, "was refused by torch: .*weight_decay"),
        ({"device": "cuda"}, "torch sees no CUDA device; set it to auto or cpu"),
    ],
)
def test_untrainable_settings_are_reported(subsets, tmp_path: Path, changes: dict, message: str) -> None:
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(TrainingError, match=message):
        fit(subsets, tmp_path, **changes)


def test_a_batch_that_is_too_small_for_batch_normalisation_is_reported(subsets, tmp_path: Path) -> None:
    """Four blocks leave one pixel of an image of 8 x 8, so each channel of a single image has one value."""
    train, val = subsets
    task = Task(small(train, widths=[4, 4, 4, 4]), None, train, val, tmp_path)
    with pytest.raises(TrainingError, match=r"^train\.batch_size = 1 is too small \(Expected more than 1 value"):
        loop.fit(task, options(batch_size=1), Checkpoints(tmp_path), lambda epoch, speed: None)


@given(data=st.data(), shards=st.sampled_from([1, 2, 8]), epoch=st.integers(0, 5))
def test_every_row_appears_once_and_no_part_has_one_row(data: st.DataObject, shards: int, epoch: int) -> None:
    count = data.draw(st.integers(2 * shards, 300))
    batch_size = data.draw(st.integers(1, 64 // shards)) * shards
    rows = np.arange(1000, 1000 + count)
    batches = list(shuffled_batches(rows, batch_size, shards, (0, epoch)))
    assert sorted(np.concatenate(batches)) == rows.tolist()
    assert all((np.diff(batch) > 0).all() for batch in batches)
    assert min(len(batch) for batch in batches) >= min(2 * shards, batch_size)


def test_fewer_rows_than_the_parts_need_are_reported(subsets, tmp_path: Path) -> None:
    few = tuple(replace(subset, rows=subset.rows[:15]) for subset in subsets)
    with pytest.raises(TrainingError, match=r"^train\.shards = 8 parts need 16 train rows, and there are 15; lower it"):
        fit(few, tmp_path, shards=8)


def test_epochs_have_different_orders() -> None:
    rows = np.arange(100)
    orders: Iterator[np.ndarray] = (np.concatenate(list(shuffled_batches(rows, 10, 1, (0, e)))) for e in range(2))
    assert not np.array_equal(*orders)
