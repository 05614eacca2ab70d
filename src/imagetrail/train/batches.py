"""Cut rows into batches, in an order that seed and epoch determine."""

from collections.abc import Iterator

import numpy as np

from imagetrail.files.arrays import Indices


def shuffled_batches(rows: Indices, batch_size: int, shards: int, seed: tuple[int, int]) -> Iterator[Indices]:
    """Yield the rows in random order, cut into batches; each batch is sorted, so that the disk is read forwards.

    A last batch of less than two rows a shard is merged into the one before, since batch normalisation needs two.
    """
    order = rows[np.random.default_rng(seed).permutation(len(rows))]
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and len(order) - cuts[-1] < min(2 * shards, batch_size):
        cuts.pop()
    yield from (np.sort(batch) for batch in np.split(order, cuts))


def batches_per_epoch(rows: Indices, batch_size: int, shards: int) -> int:
    """Count the batches of `shuffled_batches`."""
    return sum(1 for _ in shuffled_batches(rows, batch_size, shards, (0, 0)))
