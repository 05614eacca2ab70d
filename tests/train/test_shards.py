"""The parts of a batch: their rows, their random numbers, and the order in which their gradients are added."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from imagetrail.train.processes import ALONE, Group
from imagetrail.train.shards import Shards, seed_of

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))


def state(model: nn.Module) -> list[Tensor]:
    return [*(p.grad for p in model.parameters()), *(b.clone() for b in model.buffers())]


def step(model: nn.Module, count: int, rows: np.ndarray, group: Group = ALONE) -> None:
    with torch.random.fork_rng():
        shards = Shards(model, count, group)
        own = dict(zip(shards.own, shards.cut(rows), strict=True))
        for part in shards.parts((0, 1, 2)):
            (model(INPUTS[own[part]]).square().sum() / len(rows)).backward()


def alone(part: int, count: int, rows: np.ndarray) -> list[Tensor]:
    """What one part gives by itself."""
    model = network()
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(0, 1, 2, part))
        (model(INPUTS[rows[part::count]]).square().sum() / len(rows)).backward()
    return state(model)


@given(count=st.sampled_from([2, 4, 8]), size=st.integers(16, 64))
def test_a_batch_is_the_tree_of_its_parts(count: int, size: int) -> None:
    rows, model = np.arange(size), network()
    step(model, count, rows)
    level = [alone(part, count, rows) for part in range(count)]
    gradients = len(list(model.parameters()))
    counters = level[0][-1]
    level = [[*part[:gradients], *(s / count for s in part[gradients:-1])] for part in level]
    while len(level) > 1:
        level = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(level[::2], level[1::2], strict=True)]
    found = state(model)
    assert all(torch.equal(a, b) for a, b in zip(found[:-1], level[0], strict=True))
    assert found[-1] == counters == 1, "a batch counts once, however many parts it has"


class Half(Group):
    """One of two processes, which gets the other's sum from the test."""

    theirs: Tensor

    def add(self, values: Tensor) -> Tensor:
        type(self).mine = values
        return values + self.theirs


def test_processes_compute_the_two_halves_of_the_tree() -> None:
    rows, whole = np.arange(32), network()
    step(whole, 4, rows)
    sums = []
    for rank in (0, 1):
        group = Half(rank, 2)
        object.__setattr__(group, "theirs", torch.zeros(()))
        model = network()
        assert list(Shards(model, 4, group).own) == [2 * rank, 2 * rank + 1]
        step(model, 4, rows, group)
        sums.append(Half.mine)
    gradients = torch.cat([p.grad.reshape(-1) for p in whole.parameters()])
    assert torch.equal((sums[0] + sums[1])[: len(gradients)], gradients)


def test_one_part_is_the_batch_itself() -> None:
    rows, model, plain = np.arange(20), network(), network()
    torch.manual_seed(5)
    shards = Shards(model, 1, ALONE)
    (all_rows,) = shards.cut(rows)
    for part in shards.parts((0, 1, 2)):
        assert part == 0
        (model(INPUTS[all_rows]).square().sum() / 20).backward()
    torch.manual_seed(5)
    (plain(INPUTS[rows]).square().sum() / 20).backward()
    assert all(torch.equal(a, b) for a, b in zip(state(model), state(plain), strict=True))


def test_a_parameter_without_gradient_gets_zeros() -> None:
    model = nn.ModuleList([nn.Linear(6, 2), nn.Linear(6, 2)])
    for part in Shards(model, 2, ALONE).parts((0, 0, 0)):
        model[0](INPUTS[part:8:2]).sum().backward()
    assert model[1].weight.grad.abs().max() == 0


@pytest.mark.parametrize("words", [(0, 1), (1, 0), (0, 1, 0)])
def test_seeds_differ(words: tuple[int, ...]) -> None:
    assert seed_of(*words) not in {seed_of(*other) for other in [(0, 0), (1, 1), (0, 0, 1)]}
