"""Functions that all pictures share. Equal inputs give equal PNG bytes."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import matplotlib as mpl
import notojp_matplotlib  # noqa: F401  # adds its font, and would make it the only one
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from PIL import Image
from skimage.util import montage

from imagetrail.console import warn
from imagetrail.errors import natural_key
from imagetrail.files import artifacts
from imagetrail.files.arrays import Pixels

FONTS = ["DejaVu Sans", "Noto Sans CJK JP"]
"""matplotlib's own, and for its missing glyphs one that a package brings: equal pictures on every machine."""
mpl.rcParams["font.family"] = FONTS
mpl.rcParams["text.parse_math"] = False  # a dollar in a name is a dollar
TILE = 96
"""Pixels of the longer side of an image in a gallery."""
STEEPEST = 4
"""Largest ratio of height to width that an image's place in a picture has."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    FigureCanvasAgg(figure)
    with artifacts.writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})


def label(name: str, length: int = 40) -> str:
    """Return a name from the data as pictures show it.

    Characters that the fonts lack become code points. What is longer than `length` columns is cut in the middle, as
    names of files and classes often differ at their ends; a Chinese character takes two columns.
    """
    longest = name if len(name) <= 2 * length else name[:length] + name[-length:]
    shown = [c if ord(c) in _glyphs() else f"<U+{ord(c):04X}>" for c in longest]
    if any(len(part) > 1 for part in shown):
        _warn_once()
    if len(longest) == len(name) and sum(map(_columns, shown)) <= length:
        return "".join(shown)
    end = _fitting(shown[::-1], length // 2)
    start = _fitting(shown, length - 1 - sum(map(_columns, end)))
    return "".join([*start, "…", *reversed(end)])


def _fitting(parts: Sequence[str], columns: int) -> list[str]:
    """Return the first parts that fit into some columns."""
    widths = accumulate(map(_columns, parts))
    return [part for part, width in zip(parts, widths, strict=True) if width <= columns]


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def naturally(names: Sequence[str]) -> list[int]:
    """Return the positions of names in the order in which people count: 2 before 10."""
    return sorted(range(len(names)), key=lambda position: (natural_key(names[position]), names[position]))


@cache
def _glyphs() -> frozenset[int]:
    characters = (FT2Font(findfont(font)).get_charmap() for font in FONTS)
    return frozenset(code for found in characters for code in found if chr(code).isprintable())


@cache
def _warn_once() -> None:
    warn("the fonts of the pictures lack some characters of names, which are drawn as code points, such as <U+0E44>.")


def steepness(size: tuple[int, int]) -> float:
    """Return height over width of the place for images of (height, width), within what a picture can hold."""
    height, width = size
    return min(height / width, STEEPEST)


def plain(axes: Axes) -> None:
    """Keep two spines, and add a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def for_display(images: Pixels) -> Pixels:
    """Turn uint8 [N,C,H,W] into [N,H,W,3]."""
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1)


def reduced(images: Pixels, side: int) -> Pixels:
    """Shrink images [N,H,W,3] by a whole factor to about `side` pixels, each pixel the mean of those it replaces."""
    factor = round(max(images.shape[1:3]) / side)
    if factor < 2:
        return images
    return np.stack([np.asarray(Image.fromarray(image).reduce(factor)) for image in np.ascontiguousarray(images)])


def heated(images: Pixels, heat: npt.NDArray[np.float32]) -> Pixels:
    """Lay heatmaps, float32 [N,H,W] in [0, 1], over images, uint8 [N,H,W,3], which lose their colours."""
    grey = images.mean(axis=3, keepdims=True)
    colours = 255 * mpl.colormaps["inferno"](heat)[..., :3]
    mixed: Pixels = np.round(0.4 * grey + 0.6 * colours).astype(np.uint8)
    return mixed


def beside(left: Pixels, right: Pixels) -> Pixels:
    """Put images, uint8 [N,H,W,3] each, side by side with a white gap."""
    gap = np.full((*left.shape[:2], max(1, left.shape[2] // 32), 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=2)


def gallery(axes: Axes, lines: Sequence[Pixels], names: Sequence[str], columns: int) -> None:
    """Draw images in lines of `columns`, each line with its name at the left.

    Args:
        axes: to draw on.
        lines: uint8 [n,C,H,W] each, n up to `columns`.
        names: of the lines.
        columns: images in a line.
    """
    tiles: list[npt.NDArray[np.uint8]] = []
    for line in lines:
        images = reduced(for_display(line), TILE)
        tiles += [*images, *np.full((columns - len(images), *images.shape[1:]), 255, np.uint8)]
    sheet = montage(tiles, grid_shape=(len(lines), columns), padding_width=1, fill=(255, 255, 255), channel_axis=-1)
    axes.imshow(sheet, interpolation="nearest")
    axes.set_yticks([(row + 0.5) * (tiles[0].shape[0] + 1) for row in range(len(lines))], [*map(label, names)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
