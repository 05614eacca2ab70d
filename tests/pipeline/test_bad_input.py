"""What people's data is really like: each case through the stages as processes, as `dvc repro` runs them.

C: exit code 2, one message that names the thing and the fix, no traceback, nothing left behind, within 10 s and 1 GB.
Q: the image is listed in data/rejected.csv with its reason, and the stage fails. OK: tensors are written.
Archives are tested in test_unpack.py, downloads in test_fetch.py, colours and formats in test_images.py.
"""

import csv
import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import REPOSITORY, need, set_params

from imagetrail.errors import guard
from stages import download, preprocess, split

pytestmark = pytest.mark.slow

PIPELINE = """
import atexit
from pathlib import Path
from imagetrail.errors import guard
from stages import download, preprocess, split
atexit.register(lambda: Path("peak").write_text(Path("/proc/self/status").read_text()))
for stage in (download, preprocess, split):
    guard(stage.main)
"""
Prepare = Callable[[Path], None]


def picture(number: int, kind: str = "PNG") -> bytes:
    random = np.random.default_rng(number)
    buffer = io.BytesIO()
    image = Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize((60, 40))
    image.save(buffer, kind)
    return buffer.getvalue()


def table(text: str | bytes) -> Prepare:
    return lambda source: write(source / "labels.csv", text)


def write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def row(name: str, label: str = "a") -> Prepare:
    """The ordinary table with one more line."""

    def prepare(source: Path) -> None:
        with (source / "labels.csv").open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([name, label])

    return prepare


def image(name: str, data: bytes) -> Prepare:
    """The ordinary table with one more image."""

    def prepare(source: Path) -> None:
        write(source / name, data)
        row(name)(source)

    return prepare


def both(*steps: Prepare) -> Prepare:
    def prepare(source: Path) -> None:
        for step in steps:
            step(source)

    return prepare


def relabel(name: str, label: str) -> Prepare:
    def prepare(source: Path) -> None:
        path = source / "labels.csv"
        path.write_text(path.read_text().replace(f"{name},a", f"{name},{label}"))

    return prepare


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A PNG of zeros, which shrinks to a thousandth."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compressobj(9)
    pixels = b"".join(packed.compress(bytes(width + 1)) for _ in range(height)) + packed.flush()
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def fifo(name: str) -> Prepare:
    return lambda source: (source / name).unlink(missing_ok=True) or os.mkfifo(source / name)


def huge_cell(source: Path) -> None:
    with (source / "labels.csv").open("wb") as file:
        file.write(b"image,label\n")
        file.truncate(2**30)


def link(name: str, target: str) -> Prepare:
    return both(lambda source: (source / name).symlink_to(target), row(name))


CASES: dict[str, tuple[str, str, Prepare]] = {
    "1 missing column": ("C", r"'image' .* not among \['file', 'label'\]", table("file,label\n0.png,a\n")),
    "2 byte order mark": ("OK", "", table(b"\xef\xbb\xbfimage,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n")),
    "3 UTF-16": ("C", "not UTF-8 at byte 0; save it as UTF-8", table("image,label\n0.png,a\n".encode("utf-16"))),
    "3 Latin-1": ("C", "not UTF-8 at byte 21; save", table("image,label\n0.png,caf\xe9\n".encode("latin-1"))),
    "4 empty file": ("C", "is empty", table("")),
    "4 header only": ("C", "has no rows", table("image,label\n")),
    "5 equal rows": ("OK", "1 rows repeat an earlier one", row("0.png")),
    "6 one image, two labels": ("C", "line 6: '0.png' is 'b' here and 'a' on line 2", row("0.png", "b")),
    "6 equal images, two labels": (
        "C",
        r"'0\.png' \(line 2\) is 'a', 'copy\.png' \(line 6\) is 'b'",
        both(lambda source: write(source / "copy.png", picture(0)), row("copy.png", "b")),
    ),
    "7 empty label": ("C", "line 6: the label of '0.png' is empty", row("0.png", "")),
    "8 NA, None and null": ("OK", "", table("image,label\n0.png,NA\n1.png,None\n2.png,NA\n3.png,None\n")),
    "9 labels like numbers": ("OK", "", table("image,label\n0.png,1\n1.png,01\n2.png,1\n3.png,01\n")),
    "10 a cell too many": ("C", "line 2: 3 cells under 2 columns", table("image,label\n0.png,a,b\n")),
    "10 a cell too few": ("C", "line 2: 1 cells under 2 columns", table("image,label\n0.png\n")),
    "11 a column twice": ("C", "is more than once among", table("image,image,label\n0.png,0.png,a\n")),
    "11 semicolons": ("OK", "", table("image;label\n0.png;a\n1.png;b\n2.png;a\n3.png;b\n")),
    "12 NUL in a name": ("C", "line 6: .* holds a control character", row("a\0.png")),
    "12 newline in a name": ("C", "holds a control character", row("a\nb.png")),
    "13 above the root": ("C", r"line 6: '\.\./x\.png' is outside the data root", row("../x.png")),
    "13 absolute": ("C", "is outside the data root", row("/etc/passwd")),
    "14 link out of the root": ("C", "'out.png' is a link out of the data root", link("out.png", "/etc/passwd")),
    "15 address": ("C", "is an address, unlike the rows before", row("https://example.org/a.png")),
    "15 file address": ("C", "is an address", row("file:///etc/passwd")),
    "16 composed and not": (
        "OK",
        "",
        both(lambda source: write(source / "e\u0301.png", picture(9)), row("\u00e9.png")),
    ),
    "16 both of them": (
        "C",
        "is 'b' here and 'a' on line 6",
        both(lambda source: write(source / "e\u0301.png", picture(9)), row("\u00e9.png"), row("e\u0301.png", "b")),
    ),
    "17 another case": ("C", r"'0\.PNG' is missing, and '0\.png' is there; write that", row("0.PNG")),
    "18 backslash": ("Q", "missing", row("a\\b.png")),
    "19 no such image": ("Q", "missing", row("nothing.png")),
    "20 one class": ("C", "all images have one label, 'a'", table("image,label\n0.png,a\n1.png,a\n")),
    "21 a class of one": (
        "C",
        "'c' has one distinct image",
        both(lambda source: write(source / "c.png", picture(7)), row("c.png", "c")),
    ),
    "23 a gigabyte in a cell": ("C", "line 2: longer than 1048576 bytes", huge_cell),
    "24 a folder": ("C", "is not a file", lambda s: (s / "labels.csv").unlink() or (s / "labels.csv").mkdir()),
    "24 a pipe": ("C", "is not a file", fifo("labels.csv")),
    "24 unreadable": ("C", "cannot be read", lambda source: (source / "labels.csv").chmod(0)),
    "25 short JPEG": ("Q", "damaged", image("x.jpg", picture(5, "JPEG")[:-200])),
    "25 short PNG": ("Q", "damaged", image("x.png", picture(5)[:-2000])),
    "26 nothing in it": ("Q", "not an image", image("x.png", b"")),
    "27 text": ("Q", "not an image", image("x.png", b"hello")),
    "27 a web page": ("Q", "not an image", image("x.png", b"<!DOCTYPE html><html></html>")),
    "27 SVG": ("Q", "not an image", image("x.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>')),
    "28 PNG named .jpg": ("OK", "1 misnamed", image("x.jpg", picture(5))),
    "29 EPS": ("Q", "but PostScript; convert it", image("x.png", picture(5, "EPS"))),
    "29 TIFF": ("OK", "1 misnamed", image("x.png", picture(5, "TIFF"))),
    "29 DDS": ("Q", "its format is not one of", image("x.png", picture(5, "DDS"))),
    "29 PSD": ("Q", "but a Photoshop file; convert it", image("x.png", b"8BPS\0\1" + bytes(100))),
    "33 animation": ("OK", "1 animated", lambda source: animated(source)),
    "36 one pixel": ("OK", "1 tiny", image("x.png", png(1, 1))),
    "36 a line": ("OK", "1 tiny, 1 odd shape", image("x.png", png(20000, 1))),
    "37 bomb of 13000": ("Q", "more pixels than is safe", image("x.png", png(13000, 13000))),
    "38 bomb of 30000": ("Q", "more pixels than is safe", image("x.png", png(30000, 30000))),
    "39 text bomb": (
        "Q",
        "damaged",
        image("x.png", png(9, 9, png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26), 9)))),
    ),
    "40 loop of links": ("Q", "unreadable|missing", link("loop.png", "loop.png")),
    "40 broken link": ("Q", "missing", link("gone.png", "nowhere.png")),
    "40 a pipe": ("Q", "not a file", both(fifo("pipe.png"), row("pipe.png"))),
    "41 unreadable": (
        "Q",
        "unreadable: Permission denied",
        both(image("x.png", picture(5)), lambda source: (source / "x.png").chmod(0)),
    ),
    "57 corrupt archive": ("C", r"download\.archive|cannot be unpacked", lambda source: archive(source)),
}


def animated(source: Path) -> None:
    buffer = io.BytesIO()
    frames = [Image.open(io.BytesIO(picture(number))).convert("P") for number in (5, 6)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    image("x.gif", buffer.getvalue())(source)


def archive(source: Path) -> None:
    write(source / "a.zip", b"PK\3\4 and nothing more")
    set_params(source.parents[1], download__source="archive", download__archive="a.zip")


def run_stages(root: Path) -> tuple[int, str, float, int]:
    """(exit code, stderr, seconds, MiB at most) of the first three stages, without the rights of root."""
    need(shutil.which("setpriv"), "setpriv of util-linux")
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.geteuid() == 0 else []
    code = f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / 'src')!r}]\n"
    code += PIPELINE
    begin = time.monotonic()
    done = subprocess.run([*drop, sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    seconds = time.monotonic() - begin
    # Not rusage: the peak that it gives a new process is at least that of the process which started it.
    peak = re.search(r"VmHWM:\s+(\d+) kB", (root / "peak").read_text())
    (root / "peak").unlink()
    return done.returncode, done.stderr, seconds, int(peak[1]) // 1024


PROCESSES = ("3 ", "20 ", "23 ", "24 ", "37 ", "38 ", "39 ", "41 ")
"""Starts of the names of the cases that run as a process of their own, whose memory and rights are its own."""


def run_here(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """(exit code, stderr) of the first three stages in this process."""

    def stages() -> None:
        for stage in (download, preprocess, split):
            stage.main(root)

    try:
        guard(stages)
    except SystemExit as end:
        return int(end.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


@pytest.mark.parametrize("case", CASES)
def test_bad_input(root: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, message, prepare = CASES[case]
    source = root / "data/source"
    for number in range(4):
        write(source / f"{number}.png", picture(number))
    write(source / "labels.csv", "image,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(4)))
    set_params(root, download__source="csv", preprocess__image_size=16, split__val=0, machine__jobs=1)
    prepare(source)
    before = {path.name for path in source.iterdir()}

    if case.startswith(PROCESSES):
        code, printed, seconds, mib = run_stages(root)
        assert seconds < 10
        assert mib < 500
    else:
        monkeypatch.chdir(root)
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # guard sets a handler for its own process
        code, printed = run_here(Path(), capsys)

    assert "Traceback" not in printed
    assert (code == 0) == (outcome == "OK"), printed
    lines = [line for line in printed.splitlines() if line.startswith("imagetrail: ") and "warning" not in line]
    assert len(lines) == (0 if outcome == "OK" else 1), printed
    if outcome == "Q":
        with (root / "data/rejected.csv").open(newline="") as file:
            (rejected,) = csv.DictReader(file)
        reason = rejected["reason"]
        assert re.search(message, reason), reason
    else:
        assert re.search(message, printed), printed
    assert {path.name for path in source.iterdir()} == before
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]
    assert (root / "data/tensors").exists() == (outcome == "OK" or "distinct image" in message)
