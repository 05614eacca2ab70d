"""What `imagetrail predict` takes, files and folders, and the sets of labels that it answers with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forms import write
from PIL import Image
from samples import CARD

from imagetrail.errors import ArtifactError
from imagetrail.model.classifier import Classifier
from imagetrail.predict import image_files


def test_a_folder_means_its_images_in_the_order_in_which_people_count(root: Path) -> None:
    files = ["a/10.png", "a/9.png", "b.png"]
    source = write(root, {**dict.fromkeys(files), "notes.txt": "x", ".hidden.png": "x"})
    found, remarks = image_files.expanded([source, source / "b.png", source / "absent.png"])
    names = [path.relative_to(source).as_posix() for path in found]
    assert names == ["a/9.png", "a/10.png", "b.png", "b.png", "absent.png"]
    assert remarks == [f"{source} holds 1 files that are not images"]


def test_a_folder_without_images_is_reported(tmp_path: Path) -> None:
    assert image_files.expanded([tmp_path]) == ([], [f"{tmp_path} holds no images"])


def test_sets_of_labels_hold_what_is_likely_enough(tmp_path: Path) -> None:
    card = replace(CARD, thresholds=[0.3 - percent / 400 for percent in range(50)])
    torch.manual_seed(0)
    model, files = Classifier(card).eval(), []
    for number in range(5):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(files[-1])
    found, _ = image_files.predict(model, files, 0.95)
    for prediction in found:
        likely = {name for name, share in prediction.probabilities.items() if share >= card.threshold(0.95)}
        assert prediction.labels is not None
        assert set(prediction.labels) == likely | {prediction.label}
        assert prediction.labels == sorted(prediction.labels, key=lambda name: -prediction.probabilities[name])
    assert len({len(prediction.labels or []) for prediction in found} | {1}) > 1, "some sets have several labels"
    assert image_files.predict(model, files)[0][0].labels is None
    with pytest.raises(ArtifactError, match="trained without validation rows"):
        image_files.predict(Classifier(CARD).eval(), files, 0.95)
