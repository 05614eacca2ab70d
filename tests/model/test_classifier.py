"""Models: what goes in, what comes out, and that files are what they say."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import CARD, make_subset
from torchvision.transforms.v2 import functional

from imagetrail.errors import ArtifactError, TrainingError
from imagetrail.model import classifier
from imagetrail.model.classifier import Classifier
from imagetrail.model.embedding import embed
from imagetrail.model.views import Views
from imagetrail.train import normalisation


def test_pixels_in_logits_out() -> None:
    model = Classifier(CARD).eval()
    logits = model(torch.zeros(5, 3, 9, 7, dtype=torch.uint8))
    assert (logits.shape, logits.dtype) == ((5, 3), torch.float32)


def test_the_model_normalises_its_input() -> None:
    model = Classifier(CARD).eval()
    pixels = torch.randint(0, 256, (2, 3, 9, 7), dtype=torch.uint8)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (CARD.mean, CARD.std))
    assert torch.allclose(model(pixels), model.network((pixels / 255 - mean) / std))


def test_the_number_of_parameters_matches_a_calculation_by_hand() -> None:
    convolutions = 3 * 4 * 9 + 4 * 8 * 9
    assert Classifier(CARD).card.parameters == convolutions + 2 * 4 + 2 * 8 + (8 + 1) * 3


def test_too_small_images_are_rejected_before_training() -> None:
    card = replace(CARD, arguments={"widths": [4] * 5, "dropout": 0.0})
    with pytest.raises(TrainingError, match=r"image_size = 7 is too small for the 5 blocks of model\.widths"):
        Classifier(card)


def test_a_saved_model_answers_as_before(tmp_path: Path) -> None:
    model = Classifier(CARD).eval()
    classifier.save(model, tmp_path / "models")
    pixels = torch.randint(0, 256, (4, 3, 9, 7), dtype=torch.uint8)
    random_state = torch.get_rng_state()
    loaded = classifier.load(tmp_path / "models")
    assert torch.equal(loaded(pixels), model(pixels))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert loaded.card == model.card
    assert {p.name for p in (tmp_path / "models").iterdir()} == {"model.safetensors", "model.json"}


def test_one_flipped_bit_is_detected(tmp_path: Path) -> None:
    classifier.save(Classifier(CARD), tmp_path / "models")
    path = tmp_path / "models/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"has sha256 .* and model\.json names .*; restore both with"):
        classifier.load(tmp_path / "models")


@pytest.mark.parametrize("value", [None, True, -1, 0, 1e400, "x", "", [], {}, [None], ["a", "a"], {"a": 1}, 10**30])
@pytest.mark.parametrize("name", [field.name for field in fields(CARD)])
def test_a_card_of_other_types_is_one_sentence(tmp_path: Path, name: str, value: object) -> None:
    classifier.save(Classifier(CARD), tmp_path / "models")
    path = tmp_path / "models/model.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {name: value}))
    try:
        loaded = classifier.load(tmp_path / "models")
    except ArtifactError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert loaded.card == replace(
            CARD, **{"sha256": card["sha256"], name: value, "parameters": loaded.card.parameters}
        )


@pytest.mark.parametrize("text", ["", "null", "[]", "{" * 9, '{"name": "SmallCNN"}', "NaN", '"' + "x" * 10_000 + '"'])
def test_a_card_that_is_not_one_is_one_sentence(tmp_path: Path, text: str) -> None:
    classifier.save(Classifier(CARD), tmp_path / "models")
    (tmp_path / "models/model.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"model\.json cannot be read") as error:
        classifier.load(tmp_path / "models")
    assert len(str(error.value)) < 400


def test_the_card_is_plain_json(tmp_path: Path) -> None:
    classifier.save(Classifier(CARD), tmp_path / "models")
    card = json.loads((tmp_path / "models/model.json").read_text())
    assert card["classes"] == ["a", "b", "c"]
    assert (card["mean"], card["std"]) == ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2])


def test_statistics_use_the_given_rows_only() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3000, 2, 4, 4), dtype=np.uint8)
    rows = list(range(0, 3000, 2))
    mean, std = normalisation.channel_statistics(make_subset(images, [0] * 3000, rows, ["a"]))
    chosen = images[rows] / 255
    assert np.allclose(mean, chosen.mean(axis=(0, 2, 3)))
    assert np.allclose(std, chosen.std(axis=(0, 2, 3)))


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    images = np.full((10, 1, 4, 4), 7, np.uint8)
    assert normalisation.channel_statistics(make_subset(images, [0] * 10, [1, 2], ["a"]))[1] == [1.0]


@pytest.mark.parametrize("seen", [[6, 4], [9, 7], [5, 7]])
def test_the_network_sees_the_centre_of_larger_images(seen: list[int]) -> None:
    torch.manual_seed(0)
    model = Classifier(replace(CARD, input_size=seen)).eval()
    small = Classifier(replace(CARD, image_size=seen)).eval()
    small.load_state_dict(model.state_dict())
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 9, 7), dtype=np.uint8))
    top, left = (9 - seen[0]) // 2, (7 - seen[1]) // 2
    cut = pixels[:, :, top : top + seen[0], left : left + seen[1]]
    assert torch.equal(model(pixels), small(cut))
    assert torch.equal(model(cut / 255), small(cut / 255)), "crops that an augmentation cut stay as they are"


def test_smaller_images_are_enlarged_as_torchvision_enlarges_them() -> None:
    card = replace(CARD, input_size=[18, 21])
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 9, 7), dtype=np.uint8))
    plain = Classifier(CARD).normalise(pixels)
    expected = functional.resize(plain, [18, 21], antialias=True)
    assert torch.allclose(Classifier(card).normalise(pixels), expected, atol=1e-6)


def test_answers_are_averaged_with_the_mirror_image() -> None:
    torch.manual_seed(0)
    model = Classifier(replace(CARD, views="mirror")).eval()
    plain = Classifier(CARD).eval()
    plain.load_state_dict(model.state_dict())
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 9, 7), dtype=np.uint8))
    mirrored = pixels.flip(3)
    assert torch.equal(model(pixels), (plain(pixels) + plain(mirrored)) / 2)
    assert torch.equal(model(pixels), model(mirrored))
    assert not torch.equal(plain(pixels), plain(mirrored))
    model.train()
    plain.train()
    torch.manual_seed(1)
    learning = model(pixels)
    torch.manual_seed(1)
    assert torch.equal(learning, plain(pixels)), "training takes the image only"


def test_answers_are_averaged_over_moved_images() -> None:
    torch.manual_seed(0)
    model = Classifier(replace(CARD, views="shifts")).eval()
    plain = Classifier(CARD).eval()
    plain.load_state_dict(model.state_dict())
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 7), dtype=np.uint8)
    wider = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    moved = [wider[:, :, 1 + down : 10 + down, 1 + right : 8 + right]
             for down, right in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))]  # fmt: skip
    answers = [plain(torch.from_numpy(image.copy())) for image in moved]
    assert torch.allclose(model(torch.from_numpy(pixels)), torch.stack(answers).mean(0), atol=1e-6)


@pytest.mark.parametrize("kind", ["mirror", "shifts"])
def test_features_are_averaged_over_the_views(kind: Views) -> None:
    torch.manual_seed(0)
    model = Classifier(replace(CARD, views=kind)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 7), dtype=np.uint8)
    (found,) = embed(model, [pixels], torch.device("cpu"))
    with torch.no_grad():
        answers = model.head(torch.from_numpy(found))
        assert torch.allclose(answers, model(torch.from_numpy(pixels)), atol=1e-6)


def test_a_size_that_crops_one_side_and_enlarges_the_other_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"model\.input_size = \[8, 12\] is larger than the images, \[9, 7\]"):
        Classifier(replace(CARD, input_size=[8, 12]))
