"""Two machines, which are two network namespaces and a cable between them: a shared training, and a shared sweep."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from clones import environment, make_clone, mlflow_runs, run, write_small_space
from support import PATIENCE, attempt, set_params

from imagetrail.files import artifacts
from imagetrail.server import postgres

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
RELAY = """
import asyncio, sys
async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(reader, writer):
    there = await asyncio.open_unix_connection(sys.argv[3])
    await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
async def main():
    await (await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))).serve_forever()
asyncio.run(main())
"""
"""Brings the database's socket to the network, where PostgreSQL of `make server` does not listen."""


class Machine(NamedTuple):
    """A network namespace."""

    name: str
    address: str

    def start(self, folder: Path, *command: str, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], cwd=folder, env=environment(**changes), text=True,
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Machine, Machine]]:
    """Two namespaces that reach each other, and nothing else."""
    made = tuple(Machine(f"trail{os.getpid()}{side}", f"10.77.0.{n}") for n, side in enumerate("ab", 1))
    attempt("ip", "netns", "add", made[0].name)
    try:
        subprocess.run(["ip", "netns", "add", made[1].name], check=True)
        ends = [f"{machine.name}0" for machine in made]
        subprocess.run(["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], check=True)
        for machine, end in zip(made, ends, strict=True):
            subprocess.run(["ip", "link", "set", end, "netns", machine.name], check=True)
            inside = ["ip", "-n", machine.name]
            subprocess.run([*inside, "address", "add", f"{machine.address}/24", "dev", end], check=True)
            for device in (end, "lo"):
                subprocess.run([*inside, "link", "set", device, "up"], check=True)
        yield made[0], made[1]
    finally:
        for machine in made:
            subprocess.run(["ip", "netns", "delete", machine.name], check=False)


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two equal clones with tensors, whose batches are cut into two parts."""
    folder = tmp_path_factory.mktemp("machines")
    first = make_clone(folder / "first")
    set_params(first, train__epochs=20, train__shards=2, train__arithmetic="native", train__threads=1)
    set_params(first, model__widths=[4, 8])
    write_small_space(first)
    run(first, "git", "add", "--all")
    run(first, "git", "commit", "--quiet", "-m", "small")
    run(first, "dvc", "repro", "split")
    return first, Path(shutil.copytree(first, folder / "second", symlinks=True))


def trained(clone: Path) -> dict[str, bytes]:
    paths = [*(clone / artifacts.MODELS).iterdir(), clone / "metrics/train.json", clone / "plots/history.csv"]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("kill", [False, True])
def test_two_machines_train_what_one_does(
    machines: tuple[Machine, Machine], clones: tuple[Path, Path], kill: bool, tmp_path: Path
) -> None:
    """The command of docs/scale.md, on each; with `kill`, a process on the second machine dies on the way."""
    alone = Path(shutil.copytree(clones[0], tmp_path / "alone", symlinks=True))
    run(alone, "python", "-m", "stages.train")
    for clone in clones:
        shutil.rmtree(clone / artifacts.MODELS, ignore_errors=True)
    processes = [
        machine.start(
            clone, "python", "-m", "stages.train", PET_NNODES="2", PET_RDZV_BACKEND="c10d", PET_RDZV_ID=str(kill),
            PET_RDZV_ENDPOINT=f"{machines[0].address}:29400", PET_LOCAL_ADDR=machine.address,
            GLOO_SOCKET_IFNAME=f"{machine.name}0", PET_RDZV_CONF=f"is_host={int(machine is machines[0])}",
        )
        for machine, clone in zip(machines, clones, strict=True)
    ]  # fmt: skip
    if kill:
        deadline = time.monotonic() + PATIENCE
        while not list((clones[1] / artifacts.CHECKPOINTS).glob("*/000002-*.pt")):
            assert time.monotonic() < deadline, "no checkpoint"
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
        workers = [c for c in psutil.Process(processes[1].pid).children() if "stages.train" in c.cmdline()]
        workers[-1].send_signal(signal.SIGKILL)
    errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert not any("Traceback" in words for words in errors), errors
    assert trained(clones[0]) == trained(clones[1]) == trained(alone)
    assert [r.info.status for r in mlflow_runs(clones[0])][-1:] == ["FINISHED"], "the first process of all tracks"


def test_two_machines_share_a_sweep(
    machines: tuple[Machine, Machine], clones: tuple[Path, Path], tmp_path: Path
) -> None:
    with postgres.running(tmp_path / "postgres") as socket:
        where = Path(socket.rpartition("host=")[2])
        (name,) = (path for path in where.iterdir() if path.suffix != ".lock")
        relay = machines[0].start(tmp_path, "python", "-c", RELAY, machines[0].address, "5432", str(name))
        try:
            address = socket.partition("?")[0].replace("@/", f"@{machines[0].address}:5432/")
            sweep = (str(BIN / "imagetrail"), "sweep", "small", "--storage", address, "-S", "train.epochs=6")
            first = machines[0].start(clones[0], *sweep, "--trials", "8")
            deadline = time.monotonic() + PATIENCE
            while not (clones[0] / ".imagetrail/sweeps").is_dir() or not list(
                clones[0].glob(".imagetrail/sweeps/*/*.log")
            ):
                assert time.monotonic() < deadline
                assert first.poll() is None, first.communicate()
                time.sleep(0.1)
            second = machines[1].start(clones[1], *sweep, "--join")
            outputs = [process.communicate(timeout=PATIENCE) for process in (first, second)]
            assert [first.returncode, second.returncode] == [0, 0], outputs
            assert all("best of 8 trials" in output for output, _ in outputs)
        finally:
            os.killpg(relay.pid, signal.SIGKILL)
            relay.communicate()
    counts = [sum("imagetrail.trial" in r.data.tags for r in mlflow_runs(clone)) for clone in clones]
    assert sum(counts) >= 8 and min(counts) >= 1, "both worked, each with its own MLflow"
