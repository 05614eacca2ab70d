"""`imagetrail serve`: right answers under load, bad requests, slow clients and dead workers; the page in a browser."""

import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from clones import BIN, browser, free_port, run, wait_for, wait_for_server
from PIL import Image
from support import PATIENCE, REPOSITORY, make_trained

from imagetrail.evaluate import answers
from imagetrail.files import artifacts
from imagetrail.model import classifier

pytestmark = [pytest.mark.xdist_group("serve"), pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

QUICK = """
import sys
from pathlib import Path
from imagetrail.doors import cli
from imagetrail.serving import connections, inference_process, web
connections.REQUEST_SECONDS = web.BODY_SECONDS = 2.0
inference_process.SECONDS = float(sys.argv[1])
if __name__ == "__main__":
    cli.run(["serve", "--port", sys.argv[2]])
"""
"""The command with shorter limits."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained(tmp_path_factory.mktemp("serve"), train__epochs=4, model__widths=[8, 16])


class Server:
    """A running server."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port, self.process = port, process

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        found = response.status, response.read(), dict(response.headers)
        connection.close()
        return found

    def predict(self, image: bytes) -> dict[str, Any]:
        status, body, _ = self.ask("/predict", image)
        assert status == 200, body
        (answer,) = json.loads(body)["predictions"]
        return answer

    def worker(self) -> psutil.Process:
        (found,) = filter(is_worker, self.process.children())
        return found


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


@contextmanager
def running(root: Path, command: list[object], port: int) -> Iterator[Server]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    with (
        (root / "serve.log").open("wb") as log,
        subprocess.Popen([str(part) for part in command], cwd=root, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for_server(process, port)
            yield Server(port, psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
    assert b"Traceback" not in (root / "serve.log").read_bytes(), (root / "serve.log").read_text()


@pytest.fixture(scope="module")
def server(trained: Path) -> Iterator[Server]:
    port = free_port()
    with running(trained, [BIN / "imagetrail", "serve", "--port", port], port) as found:
        yield found


@pytest.fixture(scope="module")
def expected(trained: Path) -> dict[Path, tuple[str, float]]:
    """The file, the label and the confidence of each test image, as `evaluate` found them."""
    tested = answers.read(trained / "plots" / answers.EXACT)
    labels = [tested.classes[code] for code in tested.predicted]
    return {
        trained / artifacts.RAW / "images" / image: (label, confidence)
        for image, label, confidence in zip(tested.images, labels, tested.confidence, strict=True)
    }


def test_answers_are_those_that_evaluate_measured(
    server: Server, trained: Path, expected: dict[Path, tuple[str, float]]
) -> None:
    """From 32 clients at the same time, so that images of several share a batch."""
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda path: server.predict(path.read_bytes()), expected))
    for answer, (label, confidence) in zip(found, expected.values(), strict=True):
        assert answer["label"] == label
        assert answer["confidence"] == pytest.approx(confidence, abs=1e-5)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    about = json.loads(server.ask("/predict", next(iter(expected)).read_bytes())[1])["model"]
    import mlflow

    (logged,) = mlflow.MlflowClient(f"sqlite:///{trained.resolve()}/mlflow.db").search_runs(["0"])
    assert about["run_id"] == logged.info.run_id
    assert about["model_sha256"] == classifier.read_card(trained / "models").sha256
    assert about["versions"]["torch"] == "2.15.0"
    metrics = server.ask("/metrics")[1].decode()
    sizes = {
        line.split('"')[1]: float(line.split()[-1]) for line in metrics.splitlines() if "batch_images_bucket" in line
    }
    assert sizes["1.0"] < sizes["+Inf"], "some batches have several images"


def test_a_form_holds_several_files_and_bad_ones_are_errors_of_their_own(server: Server, trained: Path) -> None:
    good = trained / "data/raw/images/digit-0000.png"
    (command,) = re.findall(r"^ +(curl -F .*/predict)$", (REPOSITORY / "README.md").read_text(), re.M)
    command = command.replace(":8000/", f":{server.port}/").replace("photo.jpg", str(good))
    shown = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout)
    assert [answer["image"] for answer in shown["predictions"]] == [good.name]
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", "-F", f"a=@{good}", "-F", f"b=@{trained / 'params.yaml'}",
         f"http://127.0.0.1:{server.port}/predict"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    text, status = done.stdout.rsplit("\n", 1)
    first, second = json.loads(text)["predictions"]
    assert status == "200"
    assert (first["image"], first["label"]) == ("digit-0000.png", server.predict(good.read_bytes())["label"])
    assert second["image"] == "params.yaml" and second["error"].startswith("not an image")
    status_of_bad, body, _ = server.ask("/predict", b"junk")
    assert status_of_bad == 422 and "error" in json.loads(body)["predictions"][0]


def test_heatmaps_are_pictures_of_what_the_model_sees(server: Server, trained: Path) -> None:
    status, body, headers = server.ask("/heatmap", (trained / "data/raw/images/digit-0000.png").read_bytes())
    assert (status, headers["content-type"]) == (200, "image/png")
    picture = np.asarray(Image.open(io.BytesIO(body)))
    assert picture.shape == (8, 8, 3) and picture.std() > 10
    status, body, _ = server.ask("/heatmap", b"junk")
    assert status == 422 and json.loads(body)["error"].startswith("not an image")


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("/predict", b"", {}, 400, "the request has no image"),
        ("/predict", None, {}, 405, "Method Not Allowed"),
        ("/predict", b"--x\r\n\r\n", {"Content_Type": "multipart/form-data"}, 400, "boundary"),
        ("/predict", b"--x--\r\n", {"Content_Type": "multipart/form-data; boundary=x"}, 400, "the form has no file"),
        ("/nothing", None, {}, 404, "Not Found"),
    ],
)  # fmt: skip
def test_bad_requests_get_a_sentence(
    server: Server, path: str, body: bytes | None, headers: dict[str, str], status: int, words: str
) -> None:
    found, text, _ = server.ask(path, body, **headers)
    assert found == status
    assert words in json.loads(text)["error"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    start = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
    for rest in (b"Content-Length: 33554433\r\n\r\n", b"Content-Length: 9" + b"9" * 30 + b"\r\n\r\n"):
        reply = sent(server.port, start + rest)
        assert reply.startswith(b"HTTP/1.1 413") or b"HTTP/1.1 400" in reply
    mebibyte = b"100000\r\n" + bytes(2**20) + b"\r\n"
    reply = sent(server.port, start + b"Transfer-Encoding: chunked\r\n\r\n" + mebibyte * 33)
    assert not reply or reply.startswith(b"HTTP/1.1 413"), reply  # the system may drop the answer with the rest
    assert server.ask("/health")[0] == 200


def test_only_known_hosts_are_answered(server: Server, trained: Path) -> None:
    for path in ("/", "/health", "/metrics"):
        assert server.ask(path, Host="evil.example")[0] == 400
        assert server.ask(path, Host=f"localhost:{server.port}")[0] == 200
    done = run(trained, "imagetrail", "serve", "--host", "0.0.0.0", code=2)
    assert "--allowed-hosts is empty" in done.stderr


def test_an_image_of_too_many_pixels_is_rejected(server: Server) -> None:

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = (20_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (answer,) = json.loads(server.ask("/predict", png)[1])["predictions"]
    assert answer["error"] == "more pixels than is safe to open"


def test_malformed_requests_lose_and_leak_nothing(server: Server, trained: Path) -> None:
    """10,000 of them: not HTTP, half a header, wrong lengths, damaged images and forms; answers hold no traceback."""
    image = (trained / "data/raw/images/digit-0000.png").read_bytes()
    right = server.predict(image)
    before, memory = server.process.num_fds(), resident(server)
    with ThreadPoolExecutor(16) as pool:
        replies = list(
            pool.map(lambda seed: sent(server.port, malformed(seed, image), ends=seed % 10 < 5), range(10_000))
        )
    statuses = {reply.split(b" ")[1] for reply in replies if reply.startswith(b"HTTP/1.1 ")}
    assert statuses <= {b"200", b"400", b"404", b"405", b"413", b"422", b"431"}, statuses
    assert {b"400", b"422"} <= statuses
    assert not any(b"Traceback" in reply or b"imagetrail/" in reply for reply in replies)
    assert server.predict(image) == right
    deadline = time.monotonic() + PATIENCE
    while server.process.num_fds() > before + 5:
        assert time.monotonic() < deadline, "connections stay open"
        time.sleep(0.2)
    assert resident(server) < memory + 150 * 2**20


def resident(server: Server) -> int:
    return sum(process.memory_info().rss for process in (server.process, server.worker()))


def malformed(seed: int, image: bytes) -> bytes:
    """The bytes of a request."""
    chance = random.Random(seed)
    damaged = bytearray(image)
    for _ in range(chance.randint(1, 8)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    body = bytes(damaged[: chance.randint(0, len(damaged))])
    host = b"Host: 127.0.0.1\r\n"
    form = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n' + body + b"\r\n--x--\r\n"
    cut = form[: chance.randint(0, len(form))]
    kinds = [
        chance.randbytes(chance.randint(1, 400)),
        b"POST /predict HTTP/1.1\r\n" + host + b"Content-Le",
        b"POST /predict HTTP/1.1\r\n" + host + b"Content-Length: -5\r\n\r\n" + body,
        b"POST /predict HTTP/1.1\r\n" + host + b"Content-Length: 99999999999999999999\r\n\r\n" + body,
        b"POST /predict HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
        b"POST /%s HTTP/1.1\r\n" % chance.randbytes(3).hex().encode() + host + b"Content-Length: 0\r\n\r\n",
        b"POST /heatmap HTTP/1.1\r\n" + host + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        b"POST /predict HTTP/1.1\r\n" + host + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        b"POST /predict HTTP/1.1\r\n" + host + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\n" + host + b"Content-Type: multipart/form-data; boundary=x\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(cut) + cut,
    ]  # fmt: skip
    return kinds[seed % len(kinds)]


def sent(port: int, request: bytes, *, ends: bool = False) -> bytes:
    """Send bytes, perhaps end the sending side, and return the reply."""
    reply = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(request)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(3)
            while block := connection.recv(65536):
                reply += block
                if reply.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in reply:
                    break
        except OSError:
            pass
    return reply


@pytest.fixture
def quick(trained: Path, tmp_path: Path) -> Iterator[Server]:
    """A server whose limits are seconds."""
    script, port = tmp_path / "quick.py", free_port()
    script.write_text(QUICK)
    with running(trained, [sys.executable, script, 30, port], port) as found:
        yield found


def test_slow_clients_are_closed_and_hold_nobody_up(quick: Server, trained: Path) -> None:
    image = (trained / "data/raw/images/digit-0000.png").read_bytes()
    right = quick.predict(image)
    begin, closed = time.monotonic(), []
    slow = []
    for number in range(60):
        connection = socket.create_connection(("127.0.0.1", quick.port))
        header = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"
        connection.sendall((b"", b"POST /pre", header + b"abc")[number % 3])
        slow.append(connection)
    for _ in range(5):
        asked = time.monotonic()
        assert quick.predict(image) == right
        assert time.monotonic() - asked < 2, "others wait"
        time.sleep(0.3)
        for connection in slow[1::3]:
            try:
                connection.sendall(b"d")  # a byte now and then must not reset the time
            except OSError:
                closed.append(connection)
    for connection in slow:
        connection.settimeout(PATIENCE)
        try:
            while connection.recv(4096):
                pass
        except ConnectionError:
            pass
        connection.close()
    assert time.monotonic() - begin < 60
    assert quick.predict(image) == right


def test_a_killed_worker_loses_no_request(quick: Server, expected: dict[Path, tuple[str, float]]) -> None:
    paths = list(expected) * 2
    killed = []

    def kill() -> None:
        for _ in range(3):
            time.sleep(0.5)
            worker = quick.worker()
            killed.append(worker.pid)
            worker.kill()
            psutil.wait_procs([worker], timeout=60)
            while not any(is_worker(child) for child in quick.process.children()):
                time.sleep(0.1)

    with ThreadPoolExecutor(33) as pool:
        killing = pool.submit(kill)
        found = []
        while not killing.done() or not found:
            found += zip(paths, pool.map(lambda path: quick.predict(path.read_bytes()), paths), strict=True)
        killing.result()
    assert len(set(killed)) == 3
    assert all(answer["label"] == expected[path][0] for path, answer in found)
    assert b"imagetrail_worker_restarts 3.0" in quick.ask("/metrics")[1]
    assert len(quick.process.children()) <= 2, "the worker, and multiprocessing's own resource tracker"


def test_an_image_that_takes_too_long_costs_only_itself(trained: Path, tmp_path: Path) -> None:
    script, port = tmp_path / "quick.py", free_port()
    script.write_text(QUICK)
    large = io.BytesIO()  # takes some 2.5 s
    noise = np.random.default_rng(0).integers(0, 256, (4_000, 4_000), dtype=np.uint8)
    Image.fromarray(noise).save(large, "JPEG2000")
    small = (trained / "data/raw/images/digit-0000.png").read_bytes()
    with running(trained, [sys.executable, script, 0.8, port], port) as server, ThreadPoolExecutor(8) as pool:
        right = server.predict(small)
        answers_ = list(pool.map(lambda image: json.loads(server.ask("/predict", image)[1])["predictions"][0],
                                 [small, large.getvalue(), small, small]))  # fmt: skip
    assert [answer.get("error", "") != "" for answer in answers_] == [False, True, False, False]
    assert "took too long" in answers_[1]["error"]
    assert answers_[0] == right


def test_ctrl_c_and_a_killed_server_leave_no_process(trained: Path) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        port = free_port()
        process = subprocess.Popen([BIN / "imagetrail", "serve", "--port", str(port)], cwd=trained,
                                   env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
                                   stderr=subprocess.PIPE, text=True, preexec_fn=interruptible)  # fmt: skip
        wait_for_server(process, port)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, printed = process.communicate(timeout=PATIENCE)
        assert process.returncode == (0 if number == signal.SIGINT else -9)
        assert "Traceback" not in printed
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive


def interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_taken_port_is_one_sentence(server: Server, trained: Path) -> None:
    done = run(trained, "imagetrail", "serve", "--port", str(server.port), code=2)
    assert "cannot be listened on (Address already in use)" in done.stderr and "Traceback" not in done.stderr
    assert "must be 0-65535" in run(trained, "imagetrail", "serve", "--port", "99999", code=2).stderr


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)])
def test_the_page_shows_bars_and_a_heatmap(
    server: Server, trained: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    hostile = tmp_path / "<img src=x onerror=alert(1)>.png"
    hostile.write_bytes((trained / "data/raw/images/digit-0000.png").read_bytes())
    (tmp_path / "no image.png").write_bytes(b"junk")
    right = server.predict(hostile.read_bytes())
    with browser(tmp_path / "profile") as driver:
        driver.set_window_size(*size)
        driver.get(f"http://127.0.0.1:{server.port}/")
        wait_for(driver, "Drop photographs here")
        driver.find_element("css selector", "input").send_keys(f"{hostile}\n{tmp_path / 'no image.png'}")
        wait_for(driver, "not an image")
        good = driver.find_elements("css selector", ".answer")[1]
        assert good.find_element("tag name", "h2").text == right["label"]
        assert hostile.name in good.text
        shares = [float(output.text.split()[0]) for output in good.find_elements("tag name", "output")]
        assert shares == sorted((round(100 * p, 1) for p in right["probabilities"].values()), reverse=True)[:5]
        widths = [bar.size["width"] for bar in good.find_elements("css selector", ".bar div div")]
        assert widths == sorted(widths, reverse=True) and widths[0] > 0
        good.find_element("tag name", "button").click()
        deadline = time.monotonic() + 60
        while len(pictures := good.find_elements("tag name", "img")) < 2 or not pictures[1].size["height"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert driver.execute_script("return arguments[0].naturalWidth", pictures[1]) == 8
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert driver.execute_script(wide) <= 0, "nothing is wider than the window"
        assert [line for line in driver.get_log("browser") if "422" not in line["message"]] == []
        driver.save_screenshot(str(tmp_path / "page.png"))
