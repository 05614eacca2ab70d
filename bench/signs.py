"""Made-up traffic signs, and the forms in which people deliver such data."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ("circle", "triangle", "square")
MARKS = ("across", "upright", "left", "right")
TRACKS = 12
"""Signs of each class; each is seen several times."""
FRAMES = 6


class Sign(NamedTuple):
    """A picture of a sign."""

    label: str
    track: int
    frame: int
    image: Image.Image


def signs(seed: int = 0) -> list[Sign]:
    """Draw the signs of all classes: shape and mark decide the class; arrows change it when mirrored."""
    found = []
    for number, (shape, mark) in enumerate((shape, mark) for shape in SHAPES for mark in MARKS):
        for track in range(TRACKS):
            scene = np.random.default_rng([seed, number, track])
            colours = scene.integers(0, 256, (3, 3))
            size = int(scene.integers(30, 70))
            for frame in range(FRAMES):
                random = np.random.default_rng([seed, number, track, frame])
                found.append(
                    Sign(f"{shape} {mark}", track, frame, _drawn(shape, mark, colours, size + 2 * frame, random))
                )
    return found


def _drawn(shape: str, mark: str, colours: np.ndarray, size: int, random: np.random.Generator) -> Image.Image:
    ground, fill, ink = (tuple(map(int, colour)) for colour in colours)
    image = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(image)
    reach = size * random.uniform(0.28, 0.42)
    x, y = size / 2 + random.uniform(-0.08, 0.08, 2) * size
    box = (x - reach, y - reach, x + reach, y + reach)
    if shape == "circle":
        draw.ellipse(box, fill=fill, outline=ink, width=2)
    elif shape == "square":
        draw.rectangle(box, fill=fill, outline=ink, width=2)
    else:
        draw.polygon([(x, y - reach), (x - reach, y + reach), (x + reach, y + reach)], fill=fill, outline=ink)
    part, thick = reach * 0.5, max(2, size // 14)
    if mark == "upright":
        draw.line((x, y - part, x, y + part), fill=ink, width=thick)
    else:
        draw.line((x - part, y, x + part, y), fill=ink, width=thick)
    if mark in ("left", "right"):
        tip = x - part if mark == "left" else x + part
        back = tip + (part if mark == "left" else -part)
        draw.polygon([(tip, y), (back, y - part), (back, y + part)], fill=ink)
    image = image.rotate(random.uniform(-8, 8), fillcolor=ground).filter(ImageFilter.GaussianBlur(random.uniform(0, 1)))
    pixels = np.asarray(image).astype(float) * random.uniform(0.6, 1.2) + random.normal(0, 12, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


# --- forms ------------------------------------------------------------------------------------------------------------


def _save(folder: Path, name: str, sign: Sign, suffix: str = ".png") -> str:
    path = folder / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    sign.image.save(path)
    return f"{name}{suffix}"


def _is_test(sign: Sign) -> bool:
    return sign.track % 5 == 0


def _numbered(folder: Path, found: list[Sign], place: str) -> list[tuple[str, Sign]]:
    return [(_save(folder, f"{place}{number:05d}", sign), sign) for number, sign in enumerate(found)]


def quoted_semicolons(folder: Path, found: list[Sign]) -> None:
    """Write a table of quoted cells, separated by semicolons, with a group for each track."""
    rows = [f'"{name}";"{sign.label} {sign.track}";"{sign.label}"' for name, sign in _numbered(folder, found, "img/")]
    (folder / "signs.csv").write_text('"file";"track";"kind"\n' + "\n".join(rows) + "\n")


def no_header(folder: Path, found: list[Sign]) -> None:
    """Write a table without a header, tab-separated."""
    rows = [f"{name}\t{sign.label}" for name, sign in _numbered(folder, found, "images/")]
    (folder / "list.txt").write_text("\n".join(rows) + "\n")


def one_hot(folder: Path, found: list[Sign]) -> None:
    """Write a table with a column for each class, and identifiers without a suffix."""
    classes = sorted({sign.label for sign in found})
    rows = []
    for name, sign in _numbered(folder, found, "train/"):
        marks = ",".join(str(int(label == sign.label)) for label in classes)
        rows.append(f"{Path(name).stem},{marks}")
    (folder / "train.csv").write_text(",".join(["image_id", *classes]) + "\n" + "\n".join(rows) + "\n")


def competition(folder: Path, found: list[Sign]) -> None:
    """Write what a competition delivers: codes, their names, images to be guessed, and a sample of guesses."""
    classes = sorted({sign.label for sign in found})
    train = _numbered(folder, [sign for sign in found if not _is_test(sign)], "train_images/")
    test = _numbered(folder, [sign for sign in found if _is_test(sign)], "test_images/x")
    rows = [f"{Path(name).name},{classes.index(sign.label)}" for name, sign in train]
    (folder / "train.csv").write_text("image_id,label\n" + "\n".join(rows) + "\n")
    guesses = [f"{Path(name).name},0" for name, _ in test]
    (folder / "sample_submission.csv").write_text("image_id,label\n" + "\n".join(guesses) + "\n")
    (folder / "label_num_to_name.json").write_text(json.dumps(dict(enumerate(classes))))


def two_tables(folder: Path, found: list[Sign]) -> None:
    """Write train.csv and test.csv with Windows paths."""
    for part, wanted in (("train", False), ("test", True)):
        rows = [f"{part}\\{sign.label}\\{_stem(sign)}.png,{sign.label}" for sign in found if _is_test(sign) is wanted]
        for sign in found:
            if _is_test(sign) is wanted:
                _save(folder, f"{part}/{sign.label}/{_stem(sign)}", sign)
        (folder / f"{part}.csv").write_text("path,class\n" + "\n".join(rows) + "\n")


def _stem(sign: Sign) -> str:
    return f"{sign.track:05d}_{sign.frame:05d}"


def numbered_tracks(folder: Path, found: list[Sign]) -> None:
    """Write class folders of PPM files whose names hold tracks, each with a table, as GTSRB has them."""
    classes = sorted({sign.label for sign in found})
    rows: dict[str, list[str]] = {}
    for sign in found:
        code = f"{classes.index(sign.label):05d}"
        _save(folder, f"Images/{code}/{_stem(sign)}", sign, ".ppm")
        rows.setdefault(code, []).append(f"{_stem(sign)}.ppm;{sign.image.width};{sign.image.height};{int(code)}")
    for code, lines in rows.items():
        text = "Filename;Width;Height;ClassId\n" + "\n".join(lines) + "\n"
        (folder / "Images" / code / f"GT-{code}.csv").write_text(text)


def labels_in_names(folder: Path, found: list[Sign]) -> None:
    """Write one folder of images whose names begin with the class."""
    for number, sign in enumerate(found):
        _save(folder, f"{sign.label.replace(' ', '_')}_{number}", sign)


def wrapped_split(folder: Path, found: list[Sign]) -> None:
    """Write training and validation folders in a wrapper, and other files beside the images."""
    for sign in found:
        part = "validation" if _is_test(sign) else "training_data"
        _save(folder, f"signs-main/{part}/{sign.label}/{_stem(sign)}", sign)
    (folder / "signs-main/README.md").write_text("signs\n")
    (folder / "signs-main/training_data/Thumbs.db").write_text("x")


def doubled_split(folder: Path, found: list[Sign]) -> None:
    """Write sign_train/sign_train and sign_test/sign_test."""
    for sign in found:
        part = "sign_test" if _is_test(sign) else "sign_train"
        _save(folder, f"{part}/{part}/{sign.label}/{_stem(sign)}", sign)


def shards(folder: Path, found: list[Sign]) -> None:
    """Write Parquet files whose names state the split."""
    for part, wanted in (("train", False), ("test", True)):
        images, labels = [], []
        for sign in found:
            if _is_test(sign) is wanted:
                buffer = io.BytesIO()
                sign.image.save(buffer, "PNG")
                images.append({"bytes": buffer.getvalue(), "path": None})
                labels.append(sign.label)
        pq.write_table(pa.table({"image": images, "label": labels}), folder / f"{part}-00000-of-00001.parquet")


def archive(folder: Path, found: list[Sign]) -> None:
    """Write a zip of class folders."""
    aside = folder / "aside"
    for sign in found:
        _save(aside, f"signs/{sign.label}/{_stem(sign)}", sign)
    with zipfile.ZipFile(folder / "signs.zip", "w") as packed:
        for path in sorted(aside.rglob("*.png")):
            packed.write(path, path.relative_to(aside))
    shutil.rmtree(aside)


def twelve_bits(folder: Path, found: list[Sign]) -> None:
    """Write grey TIFF files with 12 bits in 16."""
    for sign in found:
        grey = np.asarray(sign.image.convert("L")).astype(np.uint16) * 16
        path = folder / sign.label / f"{_stem(sign)}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(path)


FORMS: dict[str, Callable[[Path, list[Sign]], None]] = {
    "quoted cells, semicolons, groups": quoted_semicolons,
    "no header, tabs": no_header,
    "a column for each class": one_hot,
    "a competition's files, codes": competition,
    "train.csv and test.csv, Windows paths": two_tables,
    "a table in each folder, tracks": numbered_tracks,
    "labels in names": labels_in_names,
    "a wrapper, training and validation": wrapped_split,
    "sign_train/sign_train": doubled_split,
    "Parquet shards": shards,
    "a zip of class folders": archive,
    "12-bit TIFF": twelve_bits,
}
