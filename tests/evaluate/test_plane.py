"""The map of test images: where they are, and which ones are shown as pictures."""

from dataclasses import replace

import numpy as np
import pytest
from samples import CARD, PREDICTIONS, make_subset

from imagetrail.evaluate import plane
from imagetrail.model.classifier import Classifier


def test_places_are_the_first_two_principal_components() -> None:
    from sklearn.decomposition import PCA

    features = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * np.array([9, 4, 1, 1, 1, 1, 1])
    found = plane.principal(features.astype(np.float32))
    expected = PCA(2).fit_transform(features)
    for number in range(2):
        assert abs(np.corrcoef(found[:, number], expected[:, number])[0, 1]) > 0.9999
    assert (found.min(axis=0) == 0).all()
    assert (found.max(axis=0) == 1).all()
    turned = plane.principal(features.astype(np.float32)[::-1])
    assert np.array_equal(turned[::-1], found), "no sign depends on the order"


@pytest.mark.parametrize("features", [np.zeros((4, 3)), np.ones((1, 1)), np.array([[1.0], [2.0]])])
def test_features_without_two_components_have_places(features: np.ndarray) -> None:
    found = plane.principal(features.astype(np.float32))
    assert found.shape == (len(features), 2)
    assert np.isfinite(found).all()


def test_pictures_keep_their_distance() -> None:
    places = np.random.default_rng(0).random((300, 2))
    chosen = plane.apart(places)
    gaps = np.abs(places[chosen][:, None] - places[chosen]).max(axis=2) + np.eye(len(chosen))
    assert gaps.min() >= plane.APART
    assert chosen[0] == 0
    assert all(np.abs(places[chosen] - place).max(axis=1).min() < plane.APART or n in chosen
               for n, place in enumerate(places)), "no place is left free"  # fmt: skip


@pytest.mark.parametrize("classes", [3, plane.COLOURED + 1])
def test_the_map_is_drawn_for_few_classes_and_for_many(tmp_path, classes: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    card = replace(CARD, classes=names)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 9, 7), dtype=np.uint8)
    model = Classifier(card).eval()
    subset = make_subset(pixels, [0] * 10, [2, 5, 7, 9], names)
    for name in ("a.png", "b.png"):
        plane.draw(tmp_path / name, model, subset, replace(PREDICTIONS, classes=names), 1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
