"""From an image file to pixels: the one way in which `preprocess`, `predict` and the tests decode.

Formats are an allowlist, so no other parser of Pillow runs. EXIF orientation is applied, 16-bit grey is scaled rather
than clipped, transparency is laid on white, and the first frame of an animation is taken.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from imagetrail.arrays import Pixels
from imagetrail.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
BACKGROUND = (255, 255, 255)
REC_709 = (0.2125, 0.7154, 0.0721, 0.0)
"""Weights of red, green, blue and one in grey, as in skimage.color.rgb2gray."""


def decode(data: bytes, size: tuple[int, int], channels: int) -> Pixels:
    """Decode an image file and resize it.

    Args:
        data: the file's bytes.
        size: (height, width) in pixels; sides are stretched independently.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 [C,H,W], 0 to 255.

    Raises:
        DataError: not an image of FORMATS, truncated, damaged, or too large to open safely; the reason in a few words.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                # JPEG decodes at 1/8, 1/4 or 1/2 of its size for less; twice the wanted size keeps the filter sharp.
                image.draft("RGB", (2 * size[1], 2 * size[0]))
                upright = ImageOps.exif_transpose(image)
                return resize(upright, size, channels)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError("more pixels than is safe to open") from None
    except UnidentifiedImageError:
        raise DataError(f"not an image, or its format is not one of {', '.join(FORMATS)}") from None
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError) as error:
        # Pillow's decoders raise all of these on damaged files.
        raise DataError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def resize(image: Image.Image, size: tuple[int, int], channels: int) -> Pixels:
    """Convert to grey or RGB, then resize with Pillow's antialiased bilinear filter to uint8 [C,H,W]."""
    converted = _grey(_colour(image)) if channels == 1 else _colour(image).convert("RGB")
    height, width = size
    if converted.size != (width, height):
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(converted)
    return pixels[np.newaxis] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _colour(image: Image.Image) -> Image.Image:
    """L or RGB of any mode."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith(("I", "F")):  # 16 bits and more: convert() would clip them to white
        return Image.fromarray(_to_bytes(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _to_bytes(values: npt.NDArray[np.generic]) -> Pixels:
    """16-bit grey, 0 to 65535, as 0 to 255."""
    return (np.clip(values.astype(np.float64), 0, 65535) / 257).round().astype(np.uint8)


def _grey(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else image.convert("L", REC_709)


def read(path: Path) -> bytes:
    """The bytes of an image file.

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
    try:
        neighbours = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        neighbours = []
    alike = [name for name in neighbours if name.lower() == path.name.lower()]
    return f"missing; {alike[0]!r} is there" if alike else "missing"
