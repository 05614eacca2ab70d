"""torchvision's data sets, read by torchvision's own code from files of the right form; the official split is kept."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from support import set_params

from imagetrail.files import artifacts
from stages import download

pytestmark = pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (level, 40, 40)).save(path)


def flowers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    base = folder / "flowers-102"
    for number in range(1, 7):
        picture(base / f"jpg/image_{number:05d}.jpg", 30 * number)
    savemat(base / "imagelabels.mat", {"labels": np.array([1, 2, 1, 2, 1, 2])})
    savemat(base / "setid.mat", {"trnid": [1, 2], "valid": [3, 4], "tstid": [5, 6]})
    files = {name: (file, None) for name, (file, _) in datasets.Flowers102._file_dict.items()}  # other files, other md5
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", files)


def food(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = folder / "food-101"
    (base / "meta").mkdir(parents=True)
    for part, start in (("train", 0), ("test", 2)):
        listed = {dish: [f"{dish}/{start + n}" for n in range(2)] for dish in ("pho", "tiramisu")}
        (base / f"meta/{part}.json").write_text(json.dumps(listed))
        for names in listed.values():
            for name in names:
                picture(base / f"images/{name}.jpg", 60 * int(name[-1]))


def textures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = folder / "dtd/dtd"
    (base / "labels").mkdir(parents=True)
    for number, part in enumerate(("train", "val", "test")):
        names = [f"{kind}/{kind}_{number}.jpg" for kind in ("banded", "woven")]
        (base / f"labels/{part}1.txt").write_text("\n".join(names) + "\n")
        for name in names:
            picture(base / f"images/{name}", 60 * number)


def aircraft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = folder / "fgvc-aircraft-2013b/data"
    base.mkdir(parents=True)
    (base / "variants.txt").write_text("747-400\nDC-3\n")
    for number, part in enumerate(("train", "val", "test")):
        (base / f"images_variant_{part}.txt").write_text(f"000{number} 747-400\n100{number} DC-3\n")
        for name in (f"000{number}", f"100{number}"):
            picture(base / f"images/{name}.jpg", 60 * number)


def pets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = folder / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for number, part in enumerate(("trainval", "test")):
        names = [f"{breed}_{number}" for breed in ("Abyssinian", "beagle")]
        lines = [f"{name} {code} 1 1" for code, name in enumerate(names, start=1)]
        (base / f"annotations/{part}.txt").write_text("\n".join(lines) + "\n")
        for name in names:
            picture(base / f"images/{name}.jpg", 60 * number)


PHOTOGRAPHS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], dict[str, int]]] = {
    "DTD": (textures, {"train": 2, "val": 2, "test": 2}),
    "FGVCAircraft": (aircraft, {"train": 2, "val": 2, "test": 2}),
    "Flowers102": (flowers, {"train": 2, "val": 2, "test": 2}),
    "Food101": (food, {"train": 4, "test": 4}),
    "OxfordIIITPet": (pets, {"train": 2, "test": 2}),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_keep_their_split_and_their_place(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write, expected = PHOTOGRAPHS[name]
    write(root / "data/source", monkeypatch)
    set_params(root, download__source=name)
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert {part: sum(row.split == part for row in rows) for part in expected} == expected
    assert len(rows) == sum(expected.values())
    assert len({row.label for row in rows}) == 2
    for row in rows:
        assert row.sha256 == artifacts.file_sha256(root / "data/source" / row.image)
    assert not (root / "data/raw/images").exists()


@pytest.mark.parametrize(("name", "folder"), [("CIFAR10", "cifar-10-batches-py"), ("CIFAR100", "cifar-100-python")])
def test_cifar_is_read_from_its_batches(root: Path, name: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    named, base = getattr(datasets, name), root / "data/source" / folder
    base.mkdir()
    key = "labels" if name == "CIFAR10" else "fine_labels"
    for attribute in ("train_list", "test_list"):
        files = [file for file, _ in getattr(named, attribute)]
        monkeypatch.setattr(named, attribute, [[file, None] for file in files])  # other files, other md5
        for number, file in enumerate(files):
            pixels = np.full((2, 3072), 10 * number + (attribute == "test_list"), np.uint8)
            (base / file).write_bytes(pickle.dumps({"data": pixels, key: [0, 1]}))
    meta = {named.meta["key"]: ["apple", "boat"]}
    (base / named.meta["filename"]).write_bytes(pickle.dumps(meta))
    monkeypatch.setattr(named, "meta", named.meta | {"md5": None})
    set_params(root, download__source=name)
    download.main(root)
    rows = list(artifacts.read_labels(root))
    parts = {part: [row for row in rows if row.split == part] for part in ("train", "test")}
    assert [len(part) for part in parts.values()] == [10 if name == "CIFAR10" else 2, 2]
    assert {row.label for row in rows} == {"apple", "boat"}
    array = np.load(root / "data/raw/images.npy")
    assert array.shape == (len(rows), 32, 32, 3)
    assert array[0].max() == 1, "test comes first"


def test_kmnist_is_read_from_idx_files(root: Path) -> None:
    for part, count in (("train", 4), ("t10k", 2)):
        images = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2)
        header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
        (root / f"data/source/{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = np.arange(count, dtype=np.uint8)
        label_header = b"\0\0\x08\x01" + count.to_bytes(4, "big")
        (root / f"data/source/{part}-labels-idx1-ubyte").write_bytes(label_header + labels.tobytes())
    set_params(root, download__source="KMNIST")
    download.main(root)
    rows = list(artifacts.read_labels(root))
    assert [(row.split, row.label) for row in rows[:2]] == [("test", "o"), ("test", "ki")]
    assert len(rows) == 6
