"""Decode an image file to pixels: `preprocess`, `predict` and the tests all use this.

EXIF orientation is applied, grey of more than 8 bits is scaled rather than clipped, transparent pixels become white,
and files of several images use their first.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from imagetrail.errors import DataError
from imagetrail.files.arrays import Pixels
from imagetrail.files.form import Form
from imagetrail.preprocess.formats import FORMATS, HEIC, is_heic, named

BACKGROUND = (255, 255, 255)
JPEG_SCALES = (8, 4, 2)
JPEG_MODES = {"Gray": "L", "YCbCr": "RGB", "RGB": "RGB"}
"""Pillow's names of the colour spaces that simplejpeg decodes."""
SOI, SOS, APP1 = 0xD8, 0xDA, 0xE1
FRAMES = range(0xC0, 0xD0)
"""JPEG markers that start a frame (SOFn), except NOT_FRAMES; ITU-T T.81, table B.1."""
NOT_FRAMES = (0xC4, 0xC8, 0xCC)
DCT_FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended and progressive with Huffman coding: the only frames that can be decoded at reduced size."""
MISSING_DATA = "premature end of data segment"
"""libjpeg's words for an end marker that comes too early."""
PNG_DEPTH = 24
"""Position of the bit depth in a PNG; the colour type is one further, the interlace method four."""
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by colour type."""
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, and steps across and down of the passes of an interlaced PNG."""
MOST_SCANS = 500
"""Scans of a progressive JPEG; each is decoded over the whole image, and encoders write about ten."""
LARGE = 2**24
"""Pixels of an image that takes hundreds of megabytes to decode."""
STRIP = 2**20
"""Pixels that are converted at a time."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, by EXIF orientation."""
REC_709 = (0.2125, 0.7154, 0.0721, 0.0)
"""Weights of red, green, blue and one in grey, as in skimage.color.rgb2gray."""


Levels = tuple[int, int]
"""Values that become 0 and 255."""
FULL: Levels = (0, 65535)
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF 6.0: BitsPerSample, PhotometricInterpretation, SampleFormat."""
WHITE_IS_ZERO, UNSIGNED = 0, 1


class Decoded(NamedTuple):
    """A decoded image, and facts about its file."""

    pixels: Pixels
    """uint8 [C,H,W], 0 to 255."""
    size: tuple[int, int]
    """(height, width) in pixels of the upright image, before it was resized."""
    format: str
    """Pillow's name of the format; empty for pixels without a file."""
    frames: int
    """Images in the file, of which this is the first."""
    complaint: str = ""
    """The decoder's complaint about a file whose pixels may be wrong; empty without one."""


def decode(data: bytes, form: Form, expected: tuple[int, int] | None = None) -> Decoded:
    """Decode an image file and resize it.

    Args:
        data: the file's bytes.
        form: to convert the image to.
        expected: (height, width) that the upright image must have; None accepts any.

    Raises:
        DataError: not an image of the allowed formats, truncated, damaged, of another size than `expected`, or too
            large to open safely; the reason in a few words.
    """
    markers = [marker for marker, _ in _jpeg_segments(data)]
    if markers and data.count(bytes([0xFF, SOS])) > MOST_SCANS:
        raise DataError(f"a JPEG of more than {MOST_SCANS} scans, each decoded over the whole image")
    if (plain := _plain_jpeg(data, markers)) is not None:
        size, mode = plain
        check_size(size, expected)
        with _in_turn(size):
            part, _ = _turbo(data, size, mode, _scale(size, form))
            if part is not None:
                return Decoded(resize(part, form), size, "JPEG", 1)
    with opened(data) as image, _in_turn(image.size):
        frame = image.tile[0].extents if image.format == "GIF" and image.tile else None
        orientation = _orientation(image)
        size = _upright(image.size, orientation)
        check_size(size, expected)
        decoded, complaint = None, ""
        if _is_dct(markers):
            scale = _scale(size, form)
            if image.format == "JPEG":
                decoded, complaint = _turbo(data, image.size[::-1], image.mode, scale)
            if decoded is None:
                image.draft("RGB", (image.width // scale, image.height // scale))
        if decoded is None:
            decoded = image
        if frame is not None and frame != (0, 0, *image.size):
            decoded = _on_background(image, frame)
        if image.format == "PNG":
            _check_rows(image, data)
            _spread_transparency(image, data)
        turn = TURNS.get(orientation)
        pixels = resize(decoded if turn is None else decoded.transpose(turn), form, _levels(image, form))
        if image.format == "MPO":  # a JPEG followed by a second one, as phones write them
            return Decoded(pixels, size, "JPEG", 1)
        return Decoded(pixels, size, image.format or "", getattr(image, "n_frames", 1), complaint)


@contextmanager
def _in_turn(size: tuple[int, int]) -> Iterator[None]:
    """Let one process of this machine at a time decode a large image, so that many do not exhaust the memory."""
    if size[0] * size[1] <= LARGE:
        yield
        return
    import fcntl  # not on Windows, where loky's workers decode large images side by side

    with Path(__file__).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_size(size: tuple[int, int], expected: tuple[int, int] | None) -> None:
    """Raise DataError if (height, width) is not the expected size; None accepts any."""
    if expected is not None and size != expected:
        raise DataError(f"{size[0]} x {size[1]} pixels, and preprocess.divisor needs {expected[0]} x {expected[1]}")


def _scale(size: tuple[int, int], form: Form) -> int:
    """Return the largest divisor of a JPEG's (height, width) that leaves enough pixels."""
    needed = (form.short_side, form.short_side) if form.short_side else form.size
    return next((s for s in JPEG_SCALES if size[0] // s >= needed[0] and size[1] // s >= needed[1]), 1)


def _jpeg_segments(data: bytes) -> list[tuple[int, bytes]]:
    """List (marker, content) of a JPEG's segments up to its first scan; empty if the segments are not contiguous.

    Native decoders trust a file's header, so it is checked here first: simplejpeg writes a lossless JPEG (SOF3), which
    cannot be decoded at a smaller size, past the end of the buffer for that size.
    """
    segments: list[tuple[int, bytes]] = []
    position = 2
    if not data.startswith(bytes([0xFF, SOI])):
        return []
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xFF:  # any number of fill bytes may precede a marker
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        segments.append((data[position + 1], data[position + 4 : end]))
        if data[position + 1] == SOS:
            return segments
        position = end
    return []


def _unsupported_jpeg(data: bytes) -> str | None:
    """Explain why libjpeg does not decode a JPEG, by its frame's header; None if that is not the reason."""
    for marker, body in _jpeg_segments(data):
        if marker in FRAMES and marker not in NOT_FRAMES and body:
            kind = "" if marker in DCT_FRAMES else f" of the kind SOF{marker - FRAMES.start}"
            if kind or body[0] != 8:
                return f"not supported: a JPEG{kind} of {body[0]} bits a sample; convert it to 8 bits"
    return None


def _is_dct(markers: list[int]) -> bool:
    """Return whether all frames of a JPEG, by its markers, can be decoded at reduced size."""
    frames = [marker for marker in markers if marker in FRAMES and marker not in NOT_FRAMES]
    return bool(frames) and all(frame in DCT_FRAMES for frame in frames)


def _plain_jpeg(data: bytes, markers: list[int]) -> tuple[tuple[int, int], str] | None:
    """Return ((height, width), mode) of an upright JPEG without Pillow, which saves an eighth of the time."""
    if not _is_dct(markers) or APP1 in markers:  # APP1 holds EXIF and XMP, which may rotate the image
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):  # KeyError: 4:4:1, a subsampling that simplejpeg has no name for
        return None
    if space not in JPEG_MODES or height * width > (Image.MAX_IMAGE_PIXELS or 0):
        return None
    return (height, width), JPEG_MODES[space]


def _turbo(data: bytes, size: tuple[int, int], mode: str, scale: int) -> tuple[Image.Image | None, str]:
    """Decode a JPEG at reduced size, each pixel the mean of those that it replaces.

    simplejpeg is 1.5 times as fast as Pillow, and gives the same pixels, as both use libjpeg-turbo. The image is None
    for what it rejects: Pillow reads more of that, and explains the rest, but says nothing about corrupt data.

    Returns:
        (image, libjpeg's complaint about the data).

    Raises:
        DataError: data is missing before the end marker, where libjpeg would fill in grey.
    """
    if mode not in JPEG_MODES.values():
        return None, ""
    height, width = (-(-side // scale) for side in size)
    try:
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if mode == "L" else "RGB", min_height=height, min_width=width)
    except KeyError:  # a subsampling without a name
        return None, ""
    except ValueError as error:
        if MISSING_DATA in str(error):
            raise DataError("truncated: data is missing before its end marker") from None
        return None, str(error)
    return Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels), ""


def _on_background(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """Lay a GIF's first frame, (left, top, right, bottom), on its canvas, which is transparent elsewhere."""
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(_colour(image).convert("RGB").crop(frame), frame[:2])
    return canvas


def _check_rows(image: Image.Image, data: bytes) -> None:
    """Raise DataError if a PNG's data ends before its last row, which Pillow leaves black.

    Only a PNG whose last row is black is inflated again to see.
    """
    if np.asarray(image.crop((0, image.height - 1, *image.size))).any():
        return
    bits = data[PNG_DEPTH] * PNG_SAMPLES[data[PNG_DEPTH + 1]]
    passes = ADAM7 if data[PNG_DEPTH + 4] else ((0, 0, 1, 1),)
    sizes = [(-(-(image.width - x) // across), -(-(image.height - y) // down)) for x, y, across, down in passes]
    expected = sum((-(-width * bits // 8) + 1) * height for width, height in sizes if width > 0 and height > 0)
    inflate, found, position = zlib.decompressobj(), 0, 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IDAT":
            # No more than the image takes: a few bytes may inflate to gigabytes.
            found += len(inflate.decompress(data[position + 8 : position + 8 + length], expected - found))
            if found == expected:
                return
        position += 12 + length
    raise DataError("truncated: data is missing for its last rows")


def _spread_transparency(image: Image.Image, data: bytes) -> None:
    """Scale the transparent colour of a grey or RGB PNG to 8 bits, as Pillow scales its pixels."""
    key, depth = image.info.get("transparency"), data[PNG_DEPTH]
    if image.mode == "L" and isinstance(key, int) and depth < 8:
        image.info["transparency"] = key * 255 // (2**depth - 1)
    if image.mode == "RGB" and isinstance(key, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


@contextmanager
def opened(data: bytes) -> Iterator[ImageFile.ImageFile]:
    """Open an image file, lazily decoded.

    Raises:
        DataError: opening or decoding it fails; the reason in a few words.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError("more pixels than is safe to open") from None
    except UnidentifiedImageError:
        raise DataError(_unsupported_jpeg(data) or _unknown(data)) from None
    except MemoryError:
        raise DataError("too large for the memory that is free") from None
    except (
        OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, ArithmeticError, RuntimeError,
        struct.error, zlib.error,
    ) as error:  # fmt: skip
        # Pillow's decoders raise all of these on damaged files.
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{'not supported' if 'unsupported' in text.lower() else 'damaged'}: {text}") from None


def _unknown(data: bytes) -> str:
    """Say what a file is that is none of FORMATS."""
    if not data:
        return "not an image: the file is empty"
    if other := named(data):
        return f"not an image of {', '.join(FORMATS)}, but {other}; convert it"
    return f"not an image, or its format is not one of {', '.join(FORMATS)}"


def _formats(data: bytes) -> tuple[str, ...]:
    """Return the formats that may be tried; HEIC's decoder is an extra, and is loaded only for such a file.

    Raises:
        DataError: it is HEIC, and the extra is not installed.
    """
    if not is_heic(data):
        return FORMATS
    try:
        import pillow_heif
    except ImportError:
        raise DataError("not supported: HEIC, without its decoder; run `pip install pillow-heif`") from None
    pillow_heif.register_heif_opener(thumbnails=False)
    return (HEIC,)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) in pixels, after the EXIF orientation."""
    return _upright(image.size, _orientation(image))


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1, which is upright, if the EXIF data is damaged: the pixels are not."""
    if image.format not in ("JPEG", "MPO"):
        image.load()  # or getexif() would: a PNG may hold EXIF behind its pixels, whose damage is not that of the EXIF
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, struct.error):
        return 1
    return value if value in TURNS else 1


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size if orientation in (5, 6, 7, 8) else size[::-1]


def resize(image: Image.Image, form: Form, levels: Levels = FULL) -> Pixels:
    """Convert to grey or RGB, then resize with Pillow's antialiased bilinear filter to uint8 [C,H,W]."""
    converted = _colour(image, levels)
    wanted = "L" if form.channels == 1 else "RGB"
    if converted.mode != wanted:  # convert() copies even if it need not
        converted = converted.convert("L", REC_709) if wanted == "L" else converted.convert("RGB")
    height, width = form.size
    box = None if form.short_side is None else _centre(converted.size, form)
    if converted.size != (width, height) or box is not None:
        converted = converted.resize((width, height), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(converted)
    return pixels[np.newaxis] if form.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _centre(size: tuple[int, int], form: Form) -> tuple[float, float, float, float]:
    """Return the box of an image of (width, height) that becomes `form.size` once its short side is `short_side`."""
    assert form.short_side is not None
    scale = min(size) / form.short_side
    # Rounding may make the box slightly larger than the image, which Pillow rejects.
    width, height = (min(side * scale, whole) for side, whole in zip(form.size[::-1], size, strict=True))
    left, top = (max(0.0, (whole - part) / 2) for part, whole in zip((width, height), size, strict=True))
    return left, top, min(left + width, size[0]), min(top + height, size[1])


def _levels(image: ImageFile.ImageFile, form: Form) -> Levels:
    """Return the values that become 0 and 255 in grey of more than 8 bits.

    Raises:
        DataError: nothing tells them: 32 bits, or signed values, and no `value_range`.
    """
    if not image.mode.startswith(("I", "F")):
        return FULL
    bits, is_negative = 16, False
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits, is_negative = int(tags.get(BITS, (1,))[0]), tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
        if tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] != UNSIGNED:
            bits = 32
    if image.mode == "F" or bits > 16:
        if form.value_range is None:
            raise DataError(
                "values of 32 bits, or with a sign, whose black and white are unknown; set preprocess.range to them"
            )
        levels = form.value_range
    else:
        levels = form.value_range or (0, 2**bits - 1)
    return levels[::-1] if is_negative else levels


def _colour(image: Image.Image, levels: Levels = FULL) -> Image.Image:
    """Convert any mode to L or RGB, in strips: a few kilobytes of PNG may hold a gigabyte in between."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    width, height = image.size
    step = max(1, STRIP // max(1, width))
    strips = (
        (top, _plain_colour(image.crop((0, top, width, min(top + step, height))), levels))
        for top in range(0, height, step)
    )
    whole: Image.Image | None = None
    for top, strip in strips:
        whole = whole or Image.new(strip.mode, image.size)
        whole.paste(strip, (0, top))
    return whole or image


def _plain_colour(image: Image.Image, levels: Levels) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits and more: convert() would clip them to white
        values = np.asarray(image)
        opaque = values != image.info.get("transparency", -1)
        return Image.fromarray(np.where(opaque, _to_bytes(values, levels), np.uint8(BACKGROUND[0])))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _to_bytes(values: npt.NDArray[np.generic], levels: Levels) -> Pixels:
    """Scale grey so that the two levels become 0 and 255; values beyond them, and those that are none, are clipped."""
    black, white = levels
    scaled = (values.astype(np.float64) - black) / ((white - black) / 255)
    return np.nan_to_num(scaled).clip(0, 255).round().astype(np.uint8)


def read(path: Path) -> bytes:
    """Read the bytes of an image file.

    Raises:
        DataError: there is no such file, or it cannot be read; the reason in a few words.
    """
    try:
        if not path.is_file():
            raise DataError(_missing(path))
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"unreadable: {error.strerror}") from None


def _missing(path: Path) -> str:
    if path.is_dir():
        return "a folder, not an image"
    if path.exists():
        return "not a file but a pipe or a device"
    try:
        neighbours = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        neighbours = []
    alike = [name for name in neighbours if name.lower() == path.name.lower()]
    return f"missing; {alike[0]!r} is there" if alike else "missing"
