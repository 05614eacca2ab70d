"""A small file may hold many pixels: decoding it takes a bounded amount of memory."""

import io
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import REPOSITORY

from imagetrail.files.form import Form
from imagetrail.preprocess import decode

CODE = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "src")!r})
from imagetrail.files.form import Form
from imagetrail.preprocess import decode
decode.decode(sys.stdin.buffer.read(), Form(3, (64, 64), None))
print(open("/proc/self/status").read())
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells a process's own peak")
@pytest.mark.parametrize("mode", ["P", "LA", "I;16", "RGBA"])
def test_the_largest_image_takes_less_than_a_gibibyte(mode: str) -> None:
    image = Image.new(mode, (9450, 9450))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, **({"transparency": 0} if mode == "P" else {}))
    done = subprocess.run([sys.executable, "-c", CODE], input=buffer.getvalue(), capture_output=True, check=True)
    assert int(re.search(rb"VmHWM:\s+(\d+) kB", done.stdout)[1]) < 2**20


@pytest.mark.parametrize("mode", ["P", "LA", "I;16", "RGBA", "1", "PA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strips_change_no_pixel(mode: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 30, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(noise, "RGBA") if mode == "RGBA" else Image.fromarray(noise[:, :, :3]).convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    form = Form(channels, (20, 20), None)
    whole = decode.resize(image, form)
    monkeypatch.setattr(decode, "STRIP", 70)
    assert np.array_equal(decode.resize(image, form), whole)


def test_too_little_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decode, "resize", full)
    with pytest.raises(decode.DataError, match="too large for the memory that is free"):
        decode.decode(buffer.getvalue(), Form(3, (8, 8), None))


ALONE = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "src")!r})
import time
from imagetrail.preprocess import decode
with decode._in_turn((10**4, 10**4)):
    begin = time.monotonic(); time.sleep(0.4); print(begin, time.monotonic())
"""


def test_large_images_are_decoded_one_after_another() -> None:
    running = [subprocess.Popen([sys.executable, "-c", ALONE], stdout=subprocess.PIPE) for _ in range(3)]
    spans = sorted(tuple(map(float, process.communicate()[0].split())) for process in running)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
