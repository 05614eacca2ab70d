"""A Dask cluster gives the bytes that one machine gives, also when a worker dies at it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import set_params

from imagetrail.errors import DataError, ParamsError
from imagetrail.files import artifacts
from imagetrail.params.load import load_params
from imagetrail.preprocess import readers, workers
from stages import download, preprocess

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workers")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster:
        yield cluster


def make_photos(root: Path, count: int, side: int) -> None:
    """Photographs of random noise, which take their time."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = root / f"data/source/{'ab'[number % 2]}/{number:04d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path, quality=95)
    set_params(root, download__source="folder", preprocess__image_size=16)
    download.main(root)


class Deadly:
    """A payload that ends the process that unpickles it, as a decoder's segmentation fault does."""

    def __reduce__(self) -> tuple:
        return os._exit, (1,)


@pytest.mark.parametrize("place", [0, 100, 249])
def test_a_file_that_kills_its_worker_is_named_and_the_others_kept(
    root: Path, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(root, 250, 16)
    preprocess.main(root)
    images, rows = (np.load(root / "data/tensors/images.npy"), list(artifacts.read_tensor_rows(root)))
    open_reader = readers.open_reader

    def deadly(*arguments: object) -> readers.Reader:
        read = open_reader(*arguments)
        return lambda lines: (
            (row, Deadly() if number == place else payload) for number, (row, payload) in enumerate(read(lines))
        )

    monkeypatch.setattr(readers, "open_reader", deadly)
    set_params(root, preprocess__max_rejected=1, machine__jobs=2)
    preprocess.main(root)
    (rejected,) = (root / "data/tensors/rejected.csv").read_text().splitlines()[1:]
    assert rejected.startswith(f'{rows[place].image},{place + 2},"decoding it kills the process')
    assert np.array_equal(np.load(root / "data/tensors/images.npy"), np.delete(images, place, axis=0))
    assert list(artifacts.read_tensor_rows(root)) == rows[:place] + rows[place + 1 :]


def outputs(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "data/tensors").iterdir()}


def test_a_cluster_gives_the_same_bytes_even_if_a_worker_dies(root: Path, cluster) -> None:
    make_photos(root, 1500, 160)
    preprocess.main(root)
    alone = outputs(root)
    set_params(root, machine__backend="dask", machine__scheduler=cluster.scheduler_address)
    preprocess.main(root)
    assert outputs(root) == alone

    from distributed import Client

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))

        def spread(function, tasks, machine, rescue):
            results = workers.spread(function, tasks, machine, rescue)
            yield next(results)
            os.kill(victim, signal.SIGKILL)
            yield from results

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("imagetrail.preprocess.build.spread", spread)
            preprocess.main(root)
        assert victim not in client.run(os.getpid).values()
    assert outputs(root) == alone


def test_workers_with_different_code_are_rejected(root: Path, cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photos(root, 4, 16)
    set_params(root, machine__backend="dask", machine__scheduler=cluster.scheduler_address)
    monkeypatch.setattr(workers, "version", lambda name: "0.1")
    with pytest.raises(DataError, match=r"worker tcp://.* has another numpy \(2.*\) than this process \(0\.1\)"):
        preprocess.main(root)


def test_an_unreachable_scheduler_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photos(root, 4, 16)
    monkeypatch.setattr(workers, "CLUSTER_TIMEOUT", 1)
    set_params(root, machine__backend="dask", machine__scheduler="tcp://127.0.0.1:9")
    with pytest.raises(DataError, match=r"machine\.scheduler = 'tcp://127\.0\.0\.1:9' cannot be reached"):
        preprocess.main(root)


def test_loky_rejects_a_scheduler(root: Path) -> None:
    set_params(root, machine__backend="dask")
    with pytest.raises(ParamsError, match="dask needs a scheduler's address"):
        load_params(root)
