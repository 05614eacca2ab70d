"""Functions that all pictures share. Equal inputs give equal PNG bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage.util import montage

from imagetrail.files import artifacts
from imagetrail.files.arrays import Pixels


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    FigureCanvasAgg(figure)
    with artifacts.writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})


def plain(axes: Axes) -> None:
    """Keep two spines, and add a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def for_display(images: Pixels) -> Pixels:
    """Turn uint8 [N,C,H,W] into [N,H,W,3]."""
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1)


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
        images = for_display(line)
        tiles += [*images, *np.full((columns - len(images), *images.shape[1:]), 255, np.uint8)]
    sheet = montage(tiles, grid_shape=(len(lines), columns), padding_width=1, fill=(255, 255, 255), channel_axis=-1)
    axes.imshow(sheet, interpolation="nearest")
    axes.set_yticks([(row + 0.5) * (tiles[0].shape[0] + 1) for row in range(len(lines))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
