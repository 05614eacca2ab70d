"""Labels and splits as people write them: one reading for every source."""

import unicodedata

from imagetrail.download.names import CONTROL

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""The words that state a split, in lower case."""


def split_of(text: str) -> str | None:
    """Return train, val or test for a word that states a split; None for any other text."""
    return SPLITS.get(text.strip().lower())


def label_of(text: str) -> str:
    """Return a label without surrounding spaces, its letters composed: NFC and NFD look the same to everyone."""
    return unicodedata.normalize("NFC", text.strip())


def problem(image: str, label: str, split: str) -> str | None:
    """Explain why an image's label or split cannot be used; None if both can. An empty split states none."""
    if not label:
        return f"the label of {image!r} is empty; give one"
    if CONTROL.search(label):
        return f"the label {label!r} of {image!r} holds a control character; correct it"
    if split and split_of(split) is None:
        return f"the split of {image!r} is {split!r}; it must be train, val, test or empty"
    return None
