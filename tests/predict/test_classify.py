"""Predictions come in the order of the images, each with the answer that it would get alone."""

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import CARD

from imagetrail.errors import ArtifactError
from imagetrail.model.classifier import Classifier
from imagetrail.predict.classify import CLASSIFIED_AT_ONCE, Prediction, classify
from imagetrail.preprocess import decode

CPU = torch.device("cpu")


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(replace(CARD, thresholds=[0.3 - percent / 400 for percent in range(50)])).eval()


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("count", [0, 1, CLASSIFIED_AT_ONCE, 3 * CLASSIFIED_AT_ONCE + 5])
def test_each_image_gets_its_own_answer(model: Classifier, tmp_path: Path, count: int) -> None:
    (tmp_path / "file.png").write_bytes(png(1))
    images = [(str(number), b"bad" if number % 7 == 3 else png(number)) for number in range(count)]
    images[1:2] = [("1", tmp_path / "file.png")] if count else []
    found = list(classify(model, images, CPU))
    assert [prediction.image for prediction in found] == [name for name, _ in images]
    for number, prediction in enumerate(found):
        if number % 7 == 3:
            assert prediction.error is not None
            assert (prediction.label, prediction.confidence, prediction.ranked(3)) == (None, None, [])
        else:
            pixels = decode.decode(png(number), model.card.form).pixels
            with torch.inference_mode():
                expected = model(torch.from_numpy(pixels)[None]).softmax(1)[0].numpy()
            assert prediction.probabilities == pytest.approx(expected, abs=1e-6)
            assert prediction.label == model.card.classes[expected.argmax()]


def test_sets_of_labels_hold_what_is_likely_enough(model: Classifier) -> None:
    images = [(str(number), png(number)) for number in range(5)]
    found = list(classify(model, images, CPU, coverage=0.95))
    for prediction in found:
        ranked = prediction.ranked(3)
        likely = {name for name, share in ranked if share >= model.card.threshold(0.95)}
        assert prediction.labels is not None
        assert set(prediction.labels) == likely | {prediction.label}
        assert prediction.labels == [name for name, _ in ranked if name in prediction.labels]
    assert len({len(prediction.labels or []) for prediction in found} | {1}) > 1, "some sets have several labels"
    assert next(classify(model, images, CPU)).labels is None
    with pytest.raises(ArtifactError, match="trained without validation rows"):
        next(classify(Classifier(CARD).eval(), images, CPU, coverage=0.95))


def test_equally_likely_classes_rank_in_their_order() -> None:
    tied = Prediction("x", ["a", "b", "c"], np.array([0.2, 0.4, 0.4]))
    assert tied.label == "b"
    assert tied.ranked(3) == [("b", 0.4), ("c", 0.4), ("a", 0.2)]


def test_memory_does_not_grow_with_the_images(model: Classifier) -> None:
    data = png(0)

    def peak(count: int) -> int:
        def images() -> Iterator[tuple[str, bytes]]:
            for number in range(count):
                yield str(number), bytearray(data) and bytes(data) + bytes(20_000)

        tracemalloc.start()
        for _ in classify(model, images(), CPU):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak(4 * CLASSIFIED_AT_ONCE)
    assert peak(16 * CLASSIFIED_AT_ONCE) < few + 20_000 * CLASSIFIED_AT_ONCE
