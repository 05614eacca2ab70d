"""Real clones of the repository, and the commands that users run in them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML
from support import PATIENCE, REPOSITORY, git, need

from imagetrail.files import artifacts
from imagetrail.tracking import store

BIN = Path(sys.executable).parent
SMALL = ("-S", "train.epochs=1", "-S", "model.widths=[8, 16]")
OUTPUTS = (*artifacts.OUTPUTS, artifacts.METRICS, "dvc.lock")


def environment(**changes: str) -> dict[str, str]:
    identity = {
        f"GIT_{who}_{what}": f"{what.lower()}@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "MAKE"))}
    light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # `mlflow ui` would start eight processes more
    return kept | identity | light | {"PATH": f"{BIN}:{os.environ['PATH']}"} | changes


MAKE = ("make", "--old-file=.venv/installed")
"""The clones share the environment that runs the tests: make must not install into it, nor point it at a clone."""


def run(folder: Path, *command: str, code: int | None = 0, **changes: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, env=environment(**changes), capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if code is not None:
        assert done.returncode == code, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def make_clone(target: Path) -> Path:
    """A fresh clone of the working tree as it is, with its environment."""
    git(REPOSITORY, "clone", "--quiet", str(REPOSITORY), str(target))
    for name in git(REPOSITORY, "ls-files", "-m", "-o", "--exclude-standard").splitlines():
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, target / name)
        else:
            (target / name).unlink(missing_ok=True)
    (target / ".venv").symlink_to(BIN.parent)
    run(target, "git", "add", "-A")
    run(target, "git", "commit", "--quiet", "--allow-empty", "-m", "as it is")
    return target


def contents(folder: Path) -> dict[str, bytes]:
    paths = [
        p for name in OUTPUTS for p in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
    ]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths if p.is_file()}


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def mlflow_runs(folder: Path) -> list:
    import mlflow

    store.adapt_mlflow()
    client = mlflow.MlflowClient(store.local(folder))
    return client.search_runs(["0"], order_by=["attributes.start_time ASC"])


def write_photos(folder: Path, count: int = 24, names: tuple[str, str] = ("file", "kind")) -> None:
    """Photographs of two kinds, of many sizes, grey and colour, JPEG and PNG, and their table."""
    random = np.random.default_rng(0)
    lines = [",".join(names)]
    for number in range(count):
        kind = "light" if number % 2 else "dark"
        size = (20 + number, 30 - number // 2) + ((3,) if number % 3 else ())
        pixels = random.integers(0, 120, size, dtype=np.uint8) + (130 if kind == "light" else 0)
        name = f"{number:02d}.{'jpg' if number % 4 else 'png'}"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        lines.append(f"{name},{kind}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")


OWN_DATA = ("-S", "download.source=csv", "-S", "download.table=photos.csv", "-S", "download.image_column=file", "-S",
            "download.label_column=kind", "-S", "preprocess.image_size=16", "-S", "preprocess.channels=3")  # fmt: skip


def workspace_state(folder: Path) -> tuple[str, dict[str, bytes]]:
    return git(folder, "status", "--short"), contents(folder) | {"params.yaml": (folder / "params.yaml").read_bytes()}


def project_run(
    folder: Path, *parameters: str, uri: str = ".", entry: str = "main", code: int = 0
) -> subprocess.CompletedProcess[str]:
    pairs = [part for parameter in parameters for part in ("-P", parameter)]
    return run(folder, "mlflow", "run", uri, "--entry-point", entry, "--env-manager", "local", *pairs, code=code)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_server(process: subprocess.Popen, port: int, url: str = "") -> None:
    """Wait until a server accepts connections, or answers `url`; fail at once where its process ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        try:
            if url:
                urllib.request.urlopen(url, timeout=10).close()
            else:
                socket.create_connection(("127.0.0.1", port), timeout=10).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{process.args} does not answer"
            time.sleep(0.2)


@contextmanager
def server(folder: Path, *command: str, port: int, url: str = "") -> Iterator[None]:
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_server(process, port, url)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(PATIENCE)


def run_queue(folder: Path, jobs: int) -> None:
    """Run what is queued; `dvc exp run --run-all` does not return when a worker misses the others' farewell.

    The workers' parents keep the streams of `dvc queue start`, so reading them would wait for the workers, too.
    """
    start = ("dvc", "queue", "start", "--jobs", str(jobs))
    subprocess.run(
        start, cwd=folder, env=environment(), check=True, timeout=PATIENCE,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while re.search("Queued|Running", status := run(folder, "dvc", "queue", "status").stdout):
            assert time.monotonic() < deadline, status
            time.sleep(1)
        assert "Failed" not in status, run(folder, "dvc", "queue", "logs", "0", code=None).stdout
    finally:
        for file in folder.glob(".dvc/tmp/exps/celery/*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), 9)


@contextmanager
def browser(profile: Path):
    need(shutil.which("chromium") and shutil.which("chromedriver"), "Chromium and ChromeDriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --window-size=1600,1000"
    )
    for flag in [*flags.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(driver, text: str) -> str:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, PATIENCE).until(lambda d: text in d.find_element("tag name", "body").text)
    return driver.find_element("tag name", "body").text


def write_small_space(root: Path) -> None:
    """A space whose trials take seconds."""
    tree = {
        "about": "small networks",
        "objective": "val_accuracy",
        "parameters": {
            "train.optimizer.lr": {"low": 0.001, "high": 0.1, "log": True},
            "model.widths": {"choices": [[8], [8, 8]]},
        },
    }
    YAML().dump(tree, root / "sweeps/small.yaml")
