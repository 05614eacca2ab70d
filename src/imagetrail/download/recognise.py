"""`auto`: recognise the form of a folder, and state which options of section `download` read it, each with its reason.

`imagetrail init` asks where two readings are possible; the stage refuses, and names both.
"""

import tempfile
from pathlib import Path

from imagetrail.download import recognise_folders, recognise_table
from imagetrail.download.inventory import Inventory
from imagetrail.download.reading import Ask, Reading, refuse
from imagetrail.errors import DataError

IDX = "train-images"
"""The beginning of the first file of MNIST and of the sets in its form."""
IDX_SETS = (("fashion", "FashionMNIST"), ("kmnist", "KMNIST"), ("kuzushiji", "KMNIST"), ("mnist", "MNIST"))
CIFAR = {"cifar-10-batches-py": "CIFAR10", "cifar-100-python": "CIFAR100"}
IMAGE_COLUMNS = ("image", "img", "picture", "photo", "bytes")


def recognise(folder: Path, ask: Ask = refuse) -> Reading:
    """Say how to read a folder.

    Args:
        folder: of the data.
        ask: chooses where several readings are possible.

    Raises:
        DataError: there is nothing that can be read, or several readings are possible and `ask` refuses.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; put the images, or an archive of them, into one.")
    inventory = Inventory.of(folder)
    named = _named(inventory, ask)
    if named is not None:
        return named
    if inventory.parquet and len(inventory.parquet) >= len(inventory.images):
        return _parquet(inventory, ask)
    if inventory.archives and not inventory.images:
        return _archive(inventory, ask)
    table = recognise_table.recognise(inventory, ask)
    if table is not None:
        return table
    if not inventory.images:
        raise DataError(f"{folder} holds no images, no table of their addresses, and no archive; put them there.")
    return recognise_folders.recognise(inventory, ask)


def _named(inventory: Inventory, ask: Ask) -> Reading | None:
    """Recognise the files of torchvision's sets."""
    for folder, name in CIFAR.items():
        if any(folder in file.split("/") for file in inventory.others):
            return Reading(name, {"source": name}, {"source": f"the folder {folder} is torchvision's {name}"})
    if not any(IDX in Path(file).name for file in [*inventory.others, *inventory.archives]):
        return None
    place = str(inventory.root.resolve()).lower()
    known = next((name for word, name in IDX_SETS if word in place), None)
    if known is not None:
        return Reading(known, {"source": known}, {"source": f"idx files in a folder named after {known}"})
    choices = [Reading(name, {"source": name}, {"source": "idx files"}) for name in ("MNIST", "FashionMNIST", "KMNIST")]
    return ask(f"{inventory.root} holds idx files, whose names do not tell the set", choices)


def _parquet(inventory: Inventory, ask: Ask) -> Reading:
    from imagetrail import parquet_file  # pyarrow is imported only if needed

    path = inventory.root / inventory.parquet[0]
    columns = parquet_file.columns(path)
    images = [name for name, kind in columns.items() if kind == "image"]
    if not images:
        raise DataError(f"{path} has no column of images as bytes among {list(columns)}; write the images into it.")
    image = next((name for name in images if name.lower() in IMAGE_COLUMNS), images[0])
    others = [name for name, kind in columns.items() if kind == "value"]
    label = recognise_table.preferred_label(others)
    options: dict[str, object] = {"source": "parquet", "image_column": image}
    reasons = {
        "source": f"{len(inventory.parquet)} Parquet files",
        "image_column": f"{image!r} holds encoded images",
    }
    if label is None:
        if not others:
            raise DataError(f"{path} has no column of labels beside {image!r}; add one.")
        choices = [Reading(name, {"label_column": name}, {"label_column": "chosen"}) for name in others]
        chosen = choices[0] if len(choices) == 1 else ask(f"which column of {path} holds the labels", choices)
        label = str(chosen.options["label_column"])
    options["label_column"] = label
    reasons["label_column"] = f"{label!r} is the column of labels"
    return Reading("Parquet files", options, reasons)


def _archive(inventory: Inventory, ask: Ask) -> Reading:
    """Unpack an archive aside, and recognise its contents."""
    from imagetrail.download import archive  # which imports the sources that it reads

    choices = [Reading(name, {"archive": name}, {"archive": "the only archive"}) for name in inventory.archives]
    chosen = choices[0] if len(choices) == 1 else ask(f"{inventory.root} holds several archives", choices)
    name = str(chosen.options["archive"])
    with tempfile.TemporaryDirectory(prefix="imagetrail") as temporary:
        inner = recognise(archive.opened(inventory.root / name, Path(temporary) / "unpacked", name), ask)
    if inner.options["source"] not in ("csv", "folder"):
        raise DataError(f"{inventory.root / name} holds {inner.text}, not images; unpack it there.")
    options = inner.options | {"source": "archive", "archive": name}
    reasons = inner.reasons | {"source": f"an archive: {inner.reasons['source']}", "archive": chosen.reasons["archive"]}
    return inner._replace(options=options, reasons=reasons)
