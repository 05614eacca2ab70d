"""`imagetrail serve` under load, beside `mlflow models serve` and bare batched inference: python -m bench serving."""

import base64
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from bench import made_up
from bench.overhead import decode_and_forward
from bench.table import Row
from imagetrail.model import classifier
from imagetrail.model.classifier import Classifier
from imagetrail.tracking import logged_model

CLIENTS, ROUNDS, SHARE = 32, 3, 0.7
CASES = {"cats-dogs-resnet50": (3, 224, 256, (500, 375)), "mnist-cnn": (1, 28, 6_000, (28, 28))}
"""By recipe: channels and side of what the network sees, images of a round, width and height of a file."""
PORTS = {"imagetrail serve": 8461, "mlflow models serve": 8462}
SERVE = "from imagetrail.serving.listen import serve; from pathlib import Path; import sys; " \
        "serve(Path(sys.argv[1]), None, '127.0.0.1', int(sys.argv[2]), ())"  # fmt: skip


def measure() -> list[Row]:
    """Measure a large network, which computes most of the time, and a small one, where HTTP is most of it."""
    return [row for name in CASES for row in _case(name)]


def _case(name: str) -> Iterator[Row]:
    channels, side, count, size = CASES[name]
    pixels, labels = made_up.images(8, channels, side)
    model = Classifier(made_up.training(name, pixels, labels)[0].card).eval()
    files = [made_up.file(number, channels, size) for number in range(count)]
    seconds: dict[str, list[float]] = {"bare batched inference": []}
    delays: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder, logged, example = Path(place) / "models", Path(place) / "logged", Path(place) / "example"
        classifier.save(model, folder)
        example.write_bytes(files[0])
        paths = [Path(place) / str(number) for number in range(count)]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        import mlflow.pyfunc

        with logged_model.parts(folder, example) as given:
            mlflow.pyfunc.save_model(logged, **given)
        commands = {
            "imagetrail serve": [sys.executable, "-c", SERVE, str(folder), str(PORTS["imagetrail serve"])],
            "mlflow models serve": [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(logged),
                                    "--env-manager", "local", "-p", str(PORTS["mlflow models serve"])],
        }  # fmt: skip
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            decode_and_forward(model, paths)
            seconds["bare batched inference"].append(time.perf_counter() - begin)
            for server, command in commands.items():
                with _running(command, PORTS[server]):
                    asked = partial(_ask, PORTS[server], server == "imagetrail serve")
                    _load(asked, files[:64])
                    begin = time.perf_counter()
                    delays.setdefault(server, []).extend(_load(asked, files))
                    seconds.setdefault(server, []).append(time.perf_counter() - begin)
    bare = count / statistics.median(seconds["bare batched inference"])
    for server in commands:
        rate = count / statistics.median(seconds[server])
        low, high = (count / edge(seconds[server]) for edge in (max, min))
        p50, p99 = (1000 * float(np.quantile(delays[server], q)) for q in (0.5, 0.99))
        measured = (
            f"{rate:,.0f} images a second ({low:,.0f} to {high:,.0f}), bare {bare:,.0f}: {rate / bare:.2f} of it; half "
            f"within {p50:,.0f} ms, 99 % within {p99:,.0f} ms"
        )
        yield Row(f"{server}, {name}, {CLIENTS} clients", measured, f"{SHARE:g}", rate / bare >= SHARE)


def _load(ask: "Callable[[http.client.HTTPConnection | None, bytes], http.client.HTTPConnection]", files: list[bytes]
          ) -> list[float]:  # fmt: skip
    """Send every file once, from CLIENTS connections that each wait for their answers; return the delays."""

    def client(part: list[bytes]) -> list[float]:
        found, connection = [], None
        for content in part:
            begin = time.perf_counter()
            connection = ask(connection, content)
            found.append(time.perf_counter() - begin)
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [delay for part in pool.map(client, [files[n::CLIENTS] for n in range(CLIENTS)]) for delay in part]


def _ask(port: int, is_ours: bool, connection: http.client.HTTPConnection | None, content: bytes
         ) -> http.client.HTTPConnection:  # fmt: skip
    connection = connection or http.client.HTTPConnection("127.0.0.1", port)
    if is_ours:
        connection.request("POST", "/predict", content, {"Content-Type": "image/jpeg"})
    else:
        body = json.dumps({"inputs": [base64.b64encode(content).decode()]})
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    (answer,) = json.loads(response.read())["predictions"]
    assert response.status == 200 and answer["label"], answer
    return connection


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          start_new_session=True) as process:  # fmt: skip
        try:
            while process.poll() is None:
                try:
                    http.client.HTTPConnection("127.0.0.1", port).connect()
                    break
                except OSError:
                    time.sleep(0.2)
            yield
        finally:
            os.killpg(process.pid, 15)
