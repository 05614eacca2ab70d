"""Decode mutated image files in processes of their own: `python -m bench.fuzz [FILES [SEED]]`.

Each file is pixels or one sentence (DataError). Anything else is printed with its number, from which `mutated` makes
the same file again: another exception, a dead process, or more than SLOW seconds.
"""

import io
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from bench.table import Row
from imagetrail.errors import DataError
from imagetrail.files.form import Form
from imagetrail.preprocess import decode, formats

FILES = 100_000
BATCH = 500
SLOW = 5.0
LARGEST = 100_000
"""Bytes of a file to mutate."""
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"),
    "PPM": ("1", "L", "RGB", "I;16", "F"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
    "AVIF": ("RGB", "RGBA"),
    "HEIF": ("RGB", "RGBA"),
}
FORMS = (Form(3, (16, 16), None), Form(1, (8, 8), 12), Form(1, (8, 8), None, (0, 4095)))


def _as(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    return image.convert(mode)


@cache
def originals() -> list[bytes]:
    """Small files of every format and mode, and real ones from IMAGETRAIL_TEST_DATA."""
    pillow_heif.register_heif_opener()
    noise = np.random.default_rng(0).integers(0, 256, (40, 33, 3), dtype=np.uint8)
    found = []
    for kind, modes in MODES.items():
        for mode in modes:
            image = Image.fromarray(noise)
            image = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else _as(image, mode)
            kinds: list[dict[str, object]] = [{}]
            if kind == "JPEG":
                kinds += [{"progressive": True}, {"subsampling": 0}, {"quality": 100}]
            if kind in ("GIF", "WEBP", "TIFF", "AVIF"):
                kinds += [{"save_all": True, "append_images": [image.rotate(90)]}]
            if kind == "TIFF" and mode in ("L", "RGB", "CMYK"):
                kinds += [{"compression": name} for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd")]
            if kind == "TIFF" and mode == "1":
                kinds += [{"compression": name} for name in ("group3", "group4")]
            for options in kinds:
                buffer = io.BytesIO()
                image.save(buffer, kind, **options)
                found.append(buffer.getvalue())
    folder = os.environ.get("IMAGETRAIL_TEST_DATA")
    paths = sorted(Path(folder).rglob("*")) if folder else []
    real = [path for path in paths if path.suffix in formats.EXTENSIONS and path.stat().st_size <= LARGEST]
    return found + [path.read_bytes() for path in real[:: max(1, len(real) // 60)]]


def mutated(seed: int, number: int) -> bytes:
    """Return a mutated file; equal arguments give equal bytes."""
    draw = random.Random(f"{seed} {number}")
    data = bytearray(draw.choice(originals()))
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        place = int(len(data) * draw.random() ** draw.choice((1, 3)))  # headers more often
        match draw.randrange(6):
            case 0:
                data[place : place + 1] = bytes([data[place] ^ 1 << draw.randrange(8)]) if data else b""
            case 1:
                data[place : place + 1] = bytes([draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))])
            case 2:
                del data[place : place + draw.choice((1, 2, 4, 100))]
            case 3:
                data[place:place] = data[place : place + draw.choice((1, 4, 64, 1000))]
            case 4:
                data[place:place] = draw.randbytes(draw.choice((1, 4, 64)))
            case _:
                data[place : place + 4] = draw.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1)).to_bytes(4, "big")
        if not data:
            break
    if draw.random() < 0.1:
        del data[int(len(data) * draw.random()) :]
    return bytes(data)


def outcome(seed: int, number: int) -> str:
    """Decode one file: `pixels`, `sentence`, or what went wrong."""
    form, begin = FORMS[number % len(FORMS)], time.monotonic()
    try:
        pixels = decode.decode(mutated(seed, number), form).pixels
        word = "pixels" if pixels.shape == (form.channels, *form.size) and pixels.dtype == np.uint8 else "other pixels"
    except DataError:
        word = "sentence"
    except Exception as error:
        word = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - begin
    return word if seconds < SLOW else f"{word} after {seconds:.0f} s"


def outcomes(seed: int, numbers: range) -> list[str]:
    """Decode some files, in a worker."""
    return [outcome(seed, number) for number in numbers]


def decoded(files: int, seed: int) -> Counter[str]:
    """Decode mutated files in parallel; print each that is neither pixels nor a sentence, and count the outcomes."""
    counts: Counter[str] = Counter()
    executor = ProcessPoolExecutor(mp_context=get_context("spawn"))
    batches = [range(first, min(first + BATCH, files)) for first in range(0, files, BATCH)]
    while batches:
        running = [(batch, executor.submit(outcomes, seed, batch)) for batch in batches]
        batches = []
        for batch, future in running:
            try:
                words = future.result()
            except BrokenProcessPool:
                if len(batch) > 1:  # all that ran or waited are broken: halve each, until one file is left
                    middle = (batch.start + batch.stop) // 2
                    batches += [range(batch.start, middle), range(middle, batch.stop)]
                    continue
                words = ["dead process"]
            for number, word in zip(batch, words, strict=True):
                is_right = word in ("pixels", "sentence")
                counts[word if is_right else "other"] += 1
                if not is_right:
                    print(f"file {number} of seed {seed}: {word}")
        executor.shutdown()
        executor = ProcessPoolExecutor(1 if batches else None, mp_context=get_context("spawn"))
    return counts


def measure() -> list[Row]:
    """Return the outcomes of FILES mutated files."""
    counts = decoded(FILES, seed=0)
    shown = ", ".join(f"{counts[word]:,} {word}" for word in ("pixels", "sentence", "other"))
    return [Row(f"{FILES:,} mutated image files (`python -m bench fuzz`)", shown, "0 other", counts["other"] == 0)]


def main() -> None:
    """Print the outcomes, counted, and each that is neither pixels nor a sentence."""
    files, seed = (int(text) for text in (*sys.argv[1:], *(str(FILES), "0")[len(sys.argv) - 1 :]))
    begin = time.monotonic()
    counts = decoded(files, seed)
    print(f"{files:,} files, seed {seed}, {len(originals())} originals, {time.monotonic() - begin:.0f} s: {counts}")


if __name__ == "__main__":
    main()
