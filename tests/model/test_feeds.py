"""Batches on their way to the device; the CPU takes the place of a GPU, without its stream and pinned memory."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from imagetrail.files.arrays import Subset
from imagetrail.files.artifacts import Dataset
from imagetrail.model import feeds
from imagetrail.model.feeds import Feed, sent_ahead

CPU = torch.device("cpu")


@pytest.fixture
def subset() -> Subset:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (50, 3, 4, 5), dtype=np.uint8), random.integers(0, 7, 50)
    dataset = Dataset("made-up", list("abcdefg"), {}, [50, 3, 4, 5], None, 0, {}, {}, "", {})
    return Subset(dataset, images, labels, np.flatnonzero(labels != 3))


def order(subset: Subset) -> list[np.ndarray]:
    return np.array_split(np.random.default_rng(1).permutation(subset.rows), 6)


@pytest.mark.parametrize("resident", [True, False])
def test_a_feed_gives_the_rows_it_is_asked_for(subset: Subset, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "fits", lambda subset, device: resident)
    monkeypatch.setattr(feeds, "COPIED_ROWS", 8)
    feed = Feed(subset, CPU)
    for _ in range(2):
        asked = order(subset)
        found = list(feed.batches(asked))
        assert len(found) == len(asked)
        for rows, (pixels, labels) in zip(asked, found, strict=True):
            assert pixels.dtype == torch.uint8 and labels.dtype == torch.int64
            assert np.array_equal(pixels.numpy(), subset.images[rows])
            assert np.array_equal(labels.numpy(), subset.labels[rows])


def test_batches_are_sent_ahead_in_order_and_no_further_than_stated() -> None:
    read = 0

    def batches() -> Iterator[tuple[np.ndarray]]:
        nonlocal read
        for read in range(1, 21):  # the position of the reader
            yield (np.full(3, read),)

    for number, (values,) in enumerate(sent_ahead(batches(), CPU), 1):
        assert values.tolist() == [number] * 3
        assert read <= number + feeds.AHEAD
    assert number == read == 20


def test_a_failure_while_reading_ahead_reaches_the_training() -> None:
    def batches() -> Iterator[tuple[np.ndarray]]:
        yield (np.zeros(1),)
        raise OSError("the disk is gone")

    received = sent_ahead(batches(), CPU)
    next(received)
    with pytest.raises(OSError, match="the disk is gone"):
        next(received)
