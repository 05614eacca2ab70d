"""Preprocess: what is written, what is refused, and that nothing is skipped in silence."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import set_params

from imagetrail.errors import DataError
from imagetrail.files import artifacts
from stages import download, preprocess


def make_images(root: Path, labels: list[str], *, channels: int = 3) -> Path:
    """Random images and their table, as a csv source."""
    source = root / "data/source"
    random = np.random.default_rng(0)
    lines = ["image,label"]
    for number, label in enumerate(labels):
        Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8)).save(source / f"{number:03d}.png")
        lines.append(f"{number:03d}.png,{label}")
    (source / "labels.csv").write_text("\n".join(lines) + "\n")
    set_params(
        root, download__source="csv", preprocess__channels=channels, preprocess__image_size=[6, 8], machine__jobs=1
    )
    return source


def rejected(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tensors_labels_and_rows_correspond(root: Path) -> None:
    source = make_images(root, ["b", "a", "b"])
    download.main(root)
    preprocess.main(root)
    images, labels = (np.load(root / f"data/tensors/{name}.npy") for name in ("images", "labels"))
    assert (images.shape, images.dtype) == ((3, 3, 6, 8), np.uint8)
    assert (labels.tolist(), labels.dtype) == ([1, 0, 1], np.int64)
    rows = list(artifacts.read_tensor_rows(root))
    assert [(row.image, row.label) for row in rows] == [("000.png", "b"), ("001.png", "a"), ("002.png", "b")]
    dataset = artifacts.read_dataset(root)
    assert (dataset.classes, dataset.counts, dataset.shape) == (["a", "b"], {"a": 1, "b": 2}, [3, 3, 6, 8])
    expected = np.asarray(Image.open(source / "001.png").resize((8, 6), Image.Resampling.BILINEAR))
    assert np.array_equal(images[1], expected.transpose(2, 0, 1))


def test_the_number_of_workers_does_not_change_the_output(root: Path) -> None:
    make_images(root, ["a", "b"] * 100)
    download.main(root)
    preprocess.main(root)
    first = {p.name: p.read_bytes() for p in (root / "data/tensors").iterdir()}
    set_params(root, machine__jobs=2)
    preprocess.main(root)
    assert {p.name: p.read_bytes() for p in (root / "data/tensors").iterdir()} == first


def test_bad_images_fail_the_stage_with_the_whole_list(root: Path) -> None:
    source = make_images(root, ["a", "b", "a", "b"])
    (source / "000.png").write_bytes(b"not an image")
    (source / "001.png").unlink()
    download.main(root)
    with pytest.raises(DataError, match=r"2 of 4 images cannot be used .* allows 0: data/rejected\.csv lists them"):
        preprocess.main(root)
    reasons = rejected(root / "data/rejected.csv")
    assert [(row["image"], row["row"]) for row in reasons] == [("000.png", "2"), ("001.png", "3")]
    assert reasons[0]["reason"].startswith("not an image")
    assert reasons[1]["reason"] == "missing"
    assert not (root / "data/tensors").exists()
    assert not list((root / "data").glob(".*tmp"))


def test_allowed_bad_images_are_listed(root: Path) -> None:
    source = make_images(root, ["a", "b", "a", "b"])
    (source / "000.png").write_bytes(b"")
    set_params(root, preprocess__max_rejected=1)
    download.main(root)
    preprocess.main(root)
    assert artifacts.read_dataset(root).shape[0] == 3
    assert [row["image"] for row in rejected(root / "data/tensors/rejected.csv")] == ["000.png"]
    assert [row.image for row in artifacts.read_tensor_rows(root)] == ["001.png", "002.png", "003.png"]


def test_a_class_that_lost_all_its_images_is_rejected(root: Path) -> None:
    source = make_images(root, ["a", "b", "b"])
    (source / "000.png").write_bytes(b"")
    set_params(root, preprocess__max_rejected=1)
    download.main(root)
    with pytest.raises(DataError, match="the class 'a' has no usable image left"):
        preprocess.main(root)


def test_one_class_is_rejected(root: Path) -> None:
    make_images(root, ["a", "a"])
    download.main(root)
    with pytest.raises(DataError, match="all images have one label, 'a'"):
        preprocess.main(root)


def test_equal_images_with_two_labels_are_listed_with_the_users_lines(root: Path) -> None:
    source = make_images(root, ["a", "b", "a", "c", "c"])
    pixels = Image.open(source / "000.png")
    pixels.save(source / "001.bmp")  # the same pixels in another file
    table = (source / "labels.csv").read_text().replace("001.png", "001.bmp")
    (source / "labels.csv").write_text(table)
    (source / "003.png").write_bytes(b"not an image")
    download.main(root)
    with pytest.raises(DataError, match=r"'000\.png' \(line 2\) is 'a', '001\.bmp' \(line 3\) is 'b'") as error:
        preprocess.main(root)
    assert "1 of 5 images cannot be used" in str(error.value), "everything wrong is reported at once"
    assert rejected(root / "data/conflicts.csv") == [
        {"image": "000.png", "label": "a", "other": "001.bmp", "other_label": "b", "place": "line 2",
         "other_place": "line 3"},
        {"image": "001.bmp", "label": "b", "other": "000.png", "other_label": "a", "place": "line 3",
         "other_place": "line 2"},
    ]  # fmt: skip


def test_equal_images_with_two_labels_can_be_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_images(root, ["a", "b", "a", "b"])
    (source / "001.png").write_bytes((source / "000.png").read_bytes())
    set_params(root, preprocess__on_conflict="drop")
    download.main(root)
    preprocess.main(root)
    assert [row.image for row in artifacts.read_tensor_rows(root)] == ["002.png", "003.png"]
    dataset = artifacts.read_dataset(root)
    assert (dataset.shape[0], dataset.rejected, dataset.counts) == (2, 0, {"a": 1, "b": 1})
    assert len(rejected(root / "data/tensors/conflicts.csv")) == 2
    assert not (root / "data/conflicts.csv").exists()
    assert "2 images are left out, as equal ones have other labels" in capsys.readouterr().err


def test_images_changed_since_download_are_rejected(root: Path) -> None:
    source = make_images(root, ["a", "b"])
    download.main(root)
    (source / "000.png").write_bytes((source / "001.png").read_bytes())
    with pytest.raises(DataError, match="changed since `download` listed it"):
        preprocess.main(root)


def test_outputs_contain_no_times_or_absolute_paths(root: Path) -> None:
    make_images(root, ["a", "b"])
    download.main(root)
    preprocess.main(root)
    for path in [*(root / "data/raw").iterdir(), *(root / "data/tensors").glob("*.[cj]s*")]:
        assert str(root) not in path.read_text()
    assert set(json.loads((root / "data/tensors/dataset.json").read_text())) == {
        "source", "classes", "counts", "shape", "short_side", "rejected", "sizes", "findings", "sha256", "arrays",
        "value_range", "recognised", "corrections",
    }  # fmt: skip


def test_divisor_divides_the_sides_of_the_first_image(root: Path) -> None:
    make_images(root, ["a", "b"])  # 12 x 16 pixels
    set_params(root, preprocess__image_size=None, preprocess__divisor=5)
    download.main(root)
    preprocess.main(root)
    assert artifacts.read_dataset(root).shape == [2, 3, 2, 3]
    set_params(root, preprocess__divisor=13)
    with pytest.raises(DataError, match=r"preprocess\.divisor = 13 leaves nothing of 12 x 16 pixels; lower it"):
        preprocess.main(root)


def test_divisor_requires_images_of_one_size(root: Path) -> None:
    source = make_images(root, ["a", "b", "a"])
    Image.new("RGB", (16, 13)).save(source / "001.png")
    set_params(root, preprocess__image_size=None, preprocess__divisor=2)
    download.main(root)
    with pytest.raises(DataError, match="1 of 3 images cannot be used"):
        preprocess.main(root)
    (only,) = rejected(root / "data/rejected.csv")
    assert only["reason"] == "13 x 16 pixels, and preprocess.divisor needs 12 x 16"


def test_divisor_applies_to_arrays(root: Path) -> None:
    (root / "data/raw").mkdir()
    random = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    artifacts.write_source(root / "data/raw", artifacts.Source("MNIST", None, {}))
    np.save(root / "data/raw/images.npy", random)
    lines = [f"{n},{'ab'[n % 2]},,,784,{n:064x}" for n in range(4)]
    (root / "data/raw/labels.csv").write_text("image,label,split,group,size,sha256\n" + "\n".join(lines) + "\n")
    set_params(root, preprocess__image_size=None, preprocess__divisor=2, machine__jobs=1)
    preprocess.main(root)
    assert artifacts.read_dataset(root).shape == [4, 1, 14, 14]


def test_what_the_source_states_reaches_the_rows_and_the_data_set(root: Path) -> None:
    source = make_images(root, ["a", "b", "a"])
    (source / "labels.csv").write_text(
        "image,label,split,group\n000.png,a,train,x\n001.png,b,val,y\n002.png,a,test,z\n"
    )
    set_params(root, download__split_column="split", download__group_column="group", preprocess__short_side=9)
    download.main(root)
    preprocess.main(root)
    rows = list(artifacts.read_tensor_rows(root))
    assert [(row.split, row.group) for row in rows] == [("train", "x"), ("val", "y"), ("test", "z")]
    assert artifacts.read_dataset(root).short_side == 9


@pytest.mark.parametrize("pair", [(0, 1), (7, 24), (12, 13), (28, 29)])
def test_two_labels_of_an_image_are_found_at_any_place(root: Path, pair: tuple[int, int]) -> None:
    source = make_images(root, ["a", "b"] * 15)
    first, second = (f"{number:03d}.png" for number in pair)
    (source / second).write_bytes((source / first).read_bytes())
    download.main(root)
    with pytest.raises(DataError, match=f"^2 images .*\n  '{first}' .* '{second}' "):
        preprocess.main(root)


def test_a_task_without_one_usable_image_is_all_rejections(root: Path) -> None:
    source = make_images(root, ["a", "b"] * 70)
    for number in range(70):
        (source / f"{number:03d}.png").write_bytes(b"not an image, %d" % number)
    set_params(root, preprocess__max_rejected=70)
    download.main(root)
    preprocess.main(root)
    assert [row["image"] for row in rejected(root / "data/tensors/rejected.csv")] == [f"{n:03d}.png" for n in range(70)]
    assert artifacts.read_dataset(root).shape[0] == 70


# --- suspicious images ------------------------------------------------------------------------------------------------


def findings(root: Path) -> list[tuple[str, str, str]]:
    return [(found.kind, found.image, found.other) for found in artifacts.read_findings(root)]


def make_odd_images(root: Path) -> Path:
    """Eight photographs of noise, then a copy, a recompressed one, a blank one, a tiny one, a long one."""
    source = root / "data/source"
    random = np.random.default_rng(0)
    smooth = [Image.fromarray(random.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((96, 96)) for _ in range(10)]
    for number, image in enumerate(smooth[:8]):
        path = source / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    smooth[0].save(source / "a/copy.bmp")
    smooth[1].resize((80, 80)).save(source / "b/small.jpg", quality=60)
    smooth[2].resize((80, 80)).save(source / "b/wrong label.jpg", quality=60)
    Image.new("RGB", (96, 96), (200, 10, 10)).save(source / "a/blank.png")
    smooth[8].resize((7, 7)).save(source / "a/tiny.png")
    smooth[9].resize((500, 96)).save(source / "a/long.png")
    frames = [Image.fromarray(random.integers(0, 255, (96, 96), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(source / "b/moving.GIF", save_all=True, append_images=frames[1:])
    Image.fromarray(random.integers(0, 255, (96, 96), dtype=np.uint8)).save(source / "b/png.jpg", "PNG")
    whole = source / "b/corrupt.jpg"
    Image.fromarray(random.integers(0, 255, (96, 96), dtype=np.uint8)).save(whole)
    whole.write_bytes(whole.read_bytes()[:-2] + b"U" * 40 + b"\xff\xd9")  # libjpeg warns, and decodes it
    set_params(root, download__source="folder", preprocess__image_size=32, preprocess__channels=3, machine__jobs=1)
    return source


def test_findings_are_listed_counted_and_reported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_odd_images(root)
    download.main(root)
    preprocess.main(root)
    assert findings(root) == [
        ("duplicate", "a/copy.bmp", "a/0.png"),
        ("near duplicate", "b/small.jpg", "b/1.png"),
        ("near duplicate", "b/wrong label.jpg", "a/2.png"),
        ("blank", "a/blank.png", ""),
        ("tiny", "a/tiny.png", ""),
        ("odd shape", "a/long.png", ""),
        ("misnamed", "b/png.jpg", ""),
        ("animated", "b/moving.GIF", ""),
        ("damaged", "b/corrupt.jpg", ""),
    ]
    details = {found.image: found.detail for found in artifacts.read_findings(root)}
    assert "labels 'b' and 'a'" in details["b/wrong label.jpg"]
    assert details["a/long.png"] == "96 x 500 pixels"
    assert details["b/png.jpg"] == "holds PNG"
    assert details["b/moving.GIF"] == "the first of 3 frames is used"
    assert "extraneous bytes" in details["b/corrupt.jpg"]
    dataset = artifacts.read_dataset(root)
    assert dataset.findings == {
        "duplicate": 1, "near duplicate": 2, "blank": 1, "tiny": 1, "odd shape": 1, "misnamed": 1, "animated": 1,
        "damaged": 1,
    }  # fmt: skip
    assert dataset.sizes == {"height": [7, 96, 96], "width": [7, 96, 500]}
    assert (
        "1 duplicate, 2 near duplicate, 1 blank, 1 tiny, 1 odd shape, 1 misnamed, 1 animated, 1 damaged"
        in capsys.readouterr().err
    )
    for name, lines in (("data", 2), ("findings", 8)):
        with Image.open(root / f"plots/{name}.png") as page:
            assert page.width > 1000 and page.height > 150 * lines


@pytest.mark.parametrize(
    "kind", ["duplicate", "near_duplicate", "blank", "tiny", "odd_shape", "misnamed", "animated", "damaged"]
)
def test_exceeding_a_limit_fails_with_the_list(root: Path, kind: str) -> None:
    make_odd_images(root)
    download.main(root)
    allowed = 2 if kind == "near_duplicate" else 1
    set_params(root, **{f"preprocess__limits__{kind}": allowed})
    preprocess.main(root)
    before = (root / "data/tensors/findings.csv").read_bytes()
    set_params(root, **{f"preprocess__limits__{kind}": allowed - 1})
    with pytest.raises(DataError, match=rf"allows {allowed - 1}: data/findings\.csv lists them, first '.*'; fix them"):
        preprocess.main(root)
    assert (root / "data/findings.csv").read_bytes() == before
    assert not list((root / "data").glob(".*tmp"))


def test_skipped_comparisons_are_not_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagetrail.preprocess.health.COMPARED", 5)
    make_odd_images(root)
    download.main(root)
    preprocess.main(root)
    findings = artifacts.read_dataset(root).findings
    assert (findings["near duplicate"], findings["duplicate"]) == (None, 1)
    set_params(root, preprocess__limits__near_duplicate=3)
    with pytest.raises(DataError, match="cannot be held: 17 images are too many to compare, 5 at most; set it to null"):
        preprocess.main(root)


def test_tiny_and_odd_are_judged_by_the_short_side(root: Path) -> None:
    make_odd_images(root)
    download.main(root)
    set_params(root, preprocess__image_size=[16, 32], preprocess__short_side=32)
    preprocess.main(root)
    assert [image for kind, image, _ in findings(root) if kind in ("tiny", "odd shape")] == ["a/tiny.png", "a/long.png"]


def test_the_data_page_is_drawn_for_one_image_per_class_and_for_many_classes(root: Path) -> None:
    make_images(root, [f"class {n:02d}" for n in range(60)])
    download.main(root)
    preprocess.main(root)
    first = (root / "plots/data.png").read_bytes()
    preprocess.main(root)
    assert (root / "plots/data.png").read_bytes() == first
