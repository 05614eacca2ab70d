"""Cut every batch into fixed parts, and add their gradients in one fixed order, whatever the number of processes.

Part p of S holds rows p, p + S, p + 2S … of the batch. It has its own random numbers and its own statistics of batch
normalisation. The gradients are the leaves of a balanced binary tree: each process adds those of its own subtree, then
pairs of processes exchange sums, level by level (recursive doubling: Thakur, Rabenseifner and Gropp, 2005,
https://doi.org/10.1177/1094342005051521). Floating-point addition is commutative, so every process gets the same bits,
and so does a single one.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from imagetrail.files.arrays import Indices
from imagetrail.train.processes import Group


class Shards:
    """The parts of the batches that this process computes, and the gradient that all parts give together."""

    def __init__(self, model: nn.Module, count: int, group: Group) -> None:
        """Share the parts out.

        Args:
            model: what learns; it has equal weights in all processes.
            count: parts of a batch, a power of two; one is the whole batch, computed as if there were no parts.
            group: the processes, at most one for each part.
        """
        self.own = range(group.rank * count // group.size, (group.rank + 1) * count // group.size)
        self._model, self._count, self._group = model, count, group
        self._learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._buffers = list(model.buffers())
        self._statistics = [buffer for buffer in self._buffers if buffer.is_floating_point()]

    def cut(self, batch: Indices) -> Iterator[Indices]:
        """Yield the rows of each own part of a batch: int64 [n], with a row for each part at least."""
        yield from (batch[part :: self._count] for part in self.own)

    def parts(self, seed: tuple[int, ...]) -> Iterator[int]:
        """Yield each own part of a batch; the caller adds its gradient, which at the end is that of the whole batch.

        Args:
            seed: of the batch; each part's random numbers follow from it.
        """
        self._model.zero_grad(set_to_none=True)
        if self._count == 1:
            yield 0
            return
        before = [buffer.clone() for buffer in self._buffers]
        subtrees: list[tuple[int, Tensor]] = []
        for part in self.own:
            for buffer, value in zip(self._buffers, before, strict=True):
                buffer.copy_(value)
            torch.manual_seed(seed_of(*seed, part))
            yield part
            subtree, height = self._leaf(), 0
            while subtrees and subtrees[-1][0] == height:
                subtree, height = subtrees.pop()[1] + subtree, height + 1
            subtrees.append((height, subtree))
            self._model.zero_grad(set_to_none=True)
        ((_, root),) = subtrees
        self._spread(self._group.add(root))

    def _leaf(self) -> Tensor:  # -> float32 [gradients and statistics]
        """Return a part's gradient, and its share of the running statistics."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._learning]
        shares = [buffer / self._count for buffer in self._statistics]
        return torch.cat([value.reshape(-1) for value in (*gradients, *shares)])

    def _spread(self, root: Tensor) -> None:
        """Set the model's gradient and running statistics to those of the batch."""
        values = (*self._learning, *self._statistics)
        for value, flat in zip(values, torch.split(root, [value.numel() for value in values]), strict=True):
            if isinstance(value, nn.Parameter):
                value.grad = torch.empty_like(value).copy_(flat.view(value.shape))
            else:
                value.copy_(flat.view(value.shape))


def seed_of(*words: int) -> int:
    """Return torch's seed for something that integers name, such as an epoch or a part of a batch."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint32)[0])
