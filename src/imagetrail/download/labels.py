"""Labels and splits as people write them: one reading for every source."""

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from imagetrail.console import warn
from imagetrail.download.names import CONTROL
from imagetrail.errors import DataError, nearest, quoted
from imagetrail.files.artifacts import LabelRow
from imagetrail.params.download import Download

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""The words that state a split, in lower case."""
FILLERS = {"data", "dataset", "set", "split", "part", "image", "images", "img", "imgs", "files", "samples"}
"""Words that say no more beside one of these: training_data, Test Images, val2017."""


def split_of(text: str) -> str | None:
    """Return train, val or test for a text that states a split; None for any other text."""
    stated = {SPLITS.get(word) for word in _words(text) if word not in FILLERS}
    return stated.pop() if len(stated) == 1 else None


def stated_split(name: str) -> str:
    """Return the split that a file's name begins with, or else that its nearest folder so named states; or empty."""
    *folders, file = name.split("/")
    stem = file.partition(".")[0]
    first = re.match("[a-z]+", stem.lower())
    words = [stem, first[0] if first else "", *reversed(folders)]
    return next((split for word in words if (split := split_of(word)) is not None), "")


def word_of_split(text: str) -> str | None:
    """Return the split that one word of a text states, whatever the others are: seg_train is train."""
    stated = {SPLITS[word] for word in _words(text) if word in SPLITS}
    return stated.pop() if len(stated) == 1 else None


def without_split(text: str) -> str:
    """Return a text without its words for splits; unchanged without any, so that seg_train and seg_test are equal."""
    return " ".join(word for word in _words(text) if word not in SPLITS)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


class Labels:
    """The reading of labels that section `download` asks for."""

    def __init__(self, options: Download, folder: Path) -> None:
        """Read the class names, if `options.classes` names a file of them in the folder."""
        self._names = None if options.classes is None else read_classes(folder / options.classes)
        self._file = options.classes
        self._folds = options.fold_labels

    def read(self, text: str) -> tuple[str, str | None]:
        """Return (class name, why there is none), from a label as it is written.

        Surrounding spaces go, and letters are composed: NFC and NFD look the same to everyone.
        """
        label = unicodedata.normalize("NFC", text.strip())
        if self._names is not None and label:
            if label not in self._names:
                return label, f"the label {quoted(label)} is not in {self._file}; {nearest(label, self._names)}"
            label = self._names[label]
        return (folded(label) if self._folds else label), None


def folded(label: str) -> str:
    """Return a label in lower case with single spaces."""
    return " ".join(label.lower().split())


def read_classes(path: Path) -> Mapping[str, str]:
    """Read a table of two columns, code and class name, or JSON: {code: name}, {name: number} or [name, name, …].

    Raises:
        DataError: it is none of these, or two codes mean one class.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        pairs = _json_pairs(text) if path.suffix.lower() == ".json" else _csv_pairs(text)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(
            f"download.classes: {path} cannot be read ({quoted(str(error), 200)}); it must be a table of codes and "
            "class names, or such a mapping as JSON."
        ) from None
    codes: dict[str, str] = {}
    for code, name in pairs:
        name = unicodedata.normalize("NFC", name.strip())
        if codes.setdefault(code.strip(), name) != name or not name:
            raise DataError(f"download.classes: {path} gives the code {quoted(code)} no or two names; give it one.")
    name, count = Counter(codes.values()).most_common(1)[0] if codes else ("", 0)
    if count != 1:
        raise DataError(f"download.classes: {path} has {count} codes for {quoted(name)}; each class needs one.")
    return codes


def _json_pairs(text: str) -> list[tuple[str, str]]:
    found = json.loads(text)
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return [(str(number), name) for number, name in enumerate(found)]
    if not isinstance(found, dict) or not all(isinstance(value, str | int) for value in found.values()):
        raise ValueError("not a mapping of codes to names")
    if all(isinstance(value, int) for value in found.values()):
        return [(str(code), name) for name, code in found.items()]
    return [(code, str(name)) for code, name in found.items()]


def _csv_pairs(text: str) -> list[tuple[str, str]]:
    first = text.partition("\n")[0]
    delimiter = next((sign for sign in (",", ";", "\t", "|") if sign in first), ",")
    rows = [cells for cells in csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True) if cells]
    if not rows or any(len(cells) != 2 for cells in rows):
        raise ValueError("not two columns")
    return [(code, name) for code, name in rows]


def watched(rows: Iterable[LabelRow]) -> Iterator[LabelRow]:
    """Pass rows on, and warn of labels that differ only in case or spaces."""
    spellings: dict[str, set[str]] = {}
    for row in rows:
        spellings.setdefault(folded(row.label), set()).add(row.label)
        yield row
    for alike in spellings.values():
        if len(alike) > 1:
            warn(
                f"the classes {', '.join(map(repr, sorted(alike)))} differ only in case or spaces; set "
                "download.fold_labels to true if they are one."
            )


def problem(image: str, label: str, split: str) -> str | None:
    """Explain why an image's label or split cannot be used; None if both can. An empty split states none."""
    if not label:
        return f"the label of {image!r} is empty; give one"
    if CONTROL.search(label):
        return f"the label {label!r} of {image!r} holds a control character; correct it"
    if split and split_of(split) is None:
        return f"the split of {image!r} is {split!r}; it must be train, val, test or empty"
    return None
