"""`imagetrail init`: what it proposes for sets of many forms, and that the proposal is a valid params.yaml."""

from pathlib import Path

import numpy as np
import pytest
from forms import write, write_idx
from PIL import Image
from support import set_params

from imagetrail.doors import cli
from imagetrail.download.recognise import recognise
from imagetrail.errors import DataError
from imagetrail.init import choose, look, mirroring, networks
from imagetrail.params.load import load_params


@pytest.fixture(autouse=True)
def _steady_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed of one machine, so that the proposal is the same on all."""
    monkeypatch.setattr(networks, "speeds", lambda *_: {"float32": 100.0, "bfloat16": 300.0})
    monkeypatch.setattr(networks, "feature_speed", lambda *_: 50.0)


def propose(root: Path, minutes: float = 5) -> choose.Proposal:
    reading = recognise(root / "data/source")
    return choose.propose(root, "data/source", reading, look.look(root, "data/source", reading), minutes)


def value(proposal: choose.Proposal, name: str) -> object:
    return next(choice.value for choice in proposal.choices if choice.name == name)


def photos(root: Path, count: int = 30, size: tuple[int, int] = (120, 160), mode: str = "RGB") -> None:
    random = np.random.default_rng(0)
    for number in range(count):
        path = root / "data/source" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (*size, 3) if mode == "RGB" else size
        top = 4096 if mode == "I;16" else 256
        Image.fromarray(random.integers(0, top, shape, dtype=np.uint16 if mode == "I;16" else np.uint8)).save(path)


def test_it_writes_a_params_yaml_whose_choices_have_reasons(root: Path, capsys, monkeypatch) -> None:
    photos(root)
    monkeypatch.chdir(root)
    cli.run(["init"])
    params = load_params(root)
    assert (params.download.source, params.preprocess.image_size, params.preprocess.channels) == ("folder", 64, 3)
    assert params.model.arguments["widths"] == [16, 32, 64, 128, 256]
    assert (params.train.precision, params.train.epochs) == ("bfloat16", 60)
    text = (root / "params.yaml").read_text()
    assert (
        "image_size: 64 # images have" not in text and "image_size: 64 # all images have 120 x 160 pixels" not in text
    )
    assert "precision: bfloat16 # bfloat16 is 3.0 times as fast here" in text
    output = capsys.readouterr().out
    assert "30 images of 2 classes: a 15, b 15" in output
    assert "PNG; 120 x 160 pixels; colour" in output
    assert "params.yaml holds them; `dvc repro` trains for about" in output


def test_a_dry_run_writes_nothing(root: Path, capsys, monkeypatch) -> None:
    photos(root)
    before = (root / "params.yaml").read_bytes()
    monkeypatch.chdir(root)
    cli.run(["init", "data/source", "--dry-run"])
    assert (root / "params.yaml").read_bytes() == before
    assert "Nothing was written" in capsys.readouterr().out


def test_the_depth_follows_from_the_size() -> None:
    widths = {side: networks.small_cnn((side, side))["widths"] for side in (2, 8, 28, 32, 64, 128)}
    assert widths == {2: [64, 128], 8: [64, 128], 28: [32, 64, 128], 32: [32, 64, 128, 256],
                      64: [16, 32, 64, 128, 256], 128: [16, 32, 64, 128, 256, 256]}  # fmt: skip


def test_grey_images_of_one_small_size_keep_it(root: Path) -> None:
    photos(root, size=(20, 28), mode="L")
    proposal = propose(root)
    assert (value(proposal, "preprocess.image_size"), value(proposal, "preprocess.channels")) == ([20, 28], 1)


def test_twelve_bits_in_16_bit_files_are_seen(root: Path) -> None:
    photos(root, size=(20, 20), mode="I;16")
    proposal = propose(root)
    assert value(proposal, "preprocess.range") == [0, 4095]
    assert any("read as 12 bits" in sentence for sentence in proposal.odd)


def test_values_of_32_bits_get_the_range_of_the_sample(root: Path) -> None:
    for number in range(20):
        path = root / "data/source" / "ab"[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.linspace(-0.5, 0.9 + number / 1000, 400, dtype=np.float32).reshape(20, 20)).save(path)
    assert value(propose(root), "preprocess.range") == [-1, 1]


def test_epochs_fill_the_time_within_bounds(root: Path) -> None:
    photos(root, count=200, size=(20, 20))
    assert value(propose(root, minutes=0.1), "train.epochs") == 14  # 128 train images, 300 a second, 6 seconds
    assert value(propose(root, minutes=0.001), "train.epochs") == choose.FEWEST_EPOCHS
    assert value(propose(root, minutes=60), "train.epochs") == choose.MOST_EPOCHS


def test_pretrained_weights_at_hand_are_proposed_for_photographs(root: Path) -> None:
    photos(root)
    assert any("pretrained weights would help" in sentence for sentence in propose(root).odd)
    weights = root / "data/weights"
    weights.mkdir(exist_ok=True)
    (weights / "mobilenet_v2-b0353104.pth").write_bytes(b"x")
    (weights / "notes.pth").write_bytes(b"")
    proposal = propose(root)
    assert value(proposal, "model") == {
        "name": "mobilenet_v2", "weights": "mobilenet_v2-b0353104.pth", "freeze": True, "input_size": None,
        "views": None,
    }  # fmt: skip
    assert value(proposal, "preprocess.image_size") == 224
    slow = propose(root, minutes=0.001)
    assert value(slow, "model")["name"] == "SmallCNN"
    assert any("would take" in sentence for sentence in slow.odd)


def test_what_the_default_would_refuse_is_allowed_with_its_reason(root: Path) -> None:
    photos(root, count=12, size=(20, 20))
    Image.new("RGB", (20, 20), (255, 0, 0)).save(root / "data/source/a/red.png")
    (root / "data/source/rare").mkdir()
    Image.new("RGB", (20, 20), (0, 255, 0)).save(root / "data/source/rare/green.png")
    proposal = propose(root)
    assert value(proposal, "split.on_rare") == "train"


def test_missing_files_are_counted(root: Path) -> None:
    files = {f"{n}.png": None for n in range(10)}
    table = "image,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(12))
    write(root, {**files, "labels.csv": table})
    proposal = propose(root)
    assert value(proposal, "preprocess.max_rejected") == 2
    assert "2 images of the list are not there, first '10.png'" in proposal.odd


def test_arrays_are_looked_at(root: Path) -> None:
    folder = root / "data/source/mnist"
    folder.mkdir()
    for part, count in (("train", 60), ("t10k", 20)):
        images = np.random.default_rng(0).integers(0, 255, (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images, zipped=True)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10, zipped=True)
    reading = recognise(folder)
    seen = look.look(root, "data/source/mnist", reading)
    assert (seen.images, seen.is_grey, seen.size, dict(seen.splits)) == (80, True, (28, 28), {"test": 20, "train": 60})


def test_data_that_cannot_be_used_are_refused(root: Path) -> None:
    write(root, {"a/1.png": "no image", "b/2.png": "no image"})
    reading = recognise(root / "data/source")
    with pytest.raises(DataError, match="none of 2 images can be used"):
        look.look(root, "data/source", reading)


def test_the_candidates_are_tried_on_validation_rows(root: Path, capsys, monkeypatch) -> None:
    photos(root, count=60, size=(16, 16))
    monkeypatch.chdir(root)
    cli.run(["init", "--try", "--minutes", "0.01"])
    output = capsys.readouterr().out
    table = [line.split("  ") for line in output.splitlines() if " s  " in line]
    assert len(table) == 3
    assert any("twice as wide" in line for line in output.splitlines())
    assert not (root / "data/raw").exists() and not (root / "models").exists()
    load_params(root)


def test_a_frozen_backbone_is_tried_beside_a_network_from_scratch(root: Path) -> None:
    photos(root)
    (root / "data/weights").mkdir(exist_ok=True)
    (root / "data/weights/mobilenet_v2-b0353104.pth").write_bytes(b"x")
    reading = recognise(root / "data/source")
    seen = look.look(root, "data/source", reading)
    proposal = choose.propose(root, "data/source", reading, seen, 5)
    found = choose.variants(root, proposal, seen, 5)
    assert [(v.name, v.params.preprocess.image_size) for v in found] == [
        ("mobilenet_v2, as proposed", 224), ("SmallCNN", 64)
    ]  # fmt: skip


# --- mirroring --------------------------------------------------------------------------------------------------------


def drawn(shapes: dict[str, np.ndarray], count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures of each shape."""
    random = np.random.default_rng(0)
    pixels = [np.stack([shape * 150 + random.integers(0, 100, shape.shape)] * 3) for shape in shapes.values()
              for _ in range(count)]  # fmt: skip
    return np.array(pixels).astype(np.uint8), np.repeat(list(shapes), count)


def test_arrows_are_not_flipped_and_stripes_are() -> None:
    left = np.tril(np.ones((mirroring.THUMBNAIL, mirroring.THUMBNAIL)))
    arrows = drawn({"left": left, "right": left[:, ::-1]})
    assert not mirroring.may_flip(*arrows)[0]
    lines = np.zeros_like(left)
    lines[::4] = 1
    may, reason = mirroring.may_flip(*drawn({"few": lines, "many": np.maximum(lines, np.roll(lines, 2, axis=0))}))
    assert may
    assert reason.startswith("flips, as the nearest image has the class of")


def test_few_images_decide_nothing() -> None:
    pixels, labels = drawn({"a": np.zeros((mirroring.THUMBNAIL, mirroring.THUMBNAIL))}, count=5)
    assert mirroring.may_flip(pixels, labels) == (
        False, "no flips, as 5 images are too few to tell whether they would change classes"
    )  # fmt: skip


def test_frames_of_one_film_decide_nothing() -> None:
    """Copies find each other, and no mirrored image; they would forbid flips."""
    random = np.random.default_rng(0)
    scenes = random.integers(0, 256, (30, 3, mirroring.THUMBNAIL, mirroring.THUMBNAIL)).astype(np.uint8)
    labels = np.array(["a", "b"])[random.integers(0, 2, 30)]
    assert mirroring.may_flip(np.repeat(scenes, 4, axis=0), np.repeat(labels, 4))[0]


def test_the_speed_of_this_machine_is_measured(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a large batch too, whose few steps torch's OneCycleLR once refused."""
    monkeypatch.undo()
    set_params(root, train__batch_size=128, train__schedule={"name": "OneCycleLR", "pct_start": 0.25})
    found = networks.speeds(load_params(root), 10, (8, 8))
    assert found.keys() == {"float32", "bfloat16"} and min(found.values()) > 0
