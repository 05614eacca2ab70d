"""Fill the templates of this folder. Equal values give equal bytes."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from imagetrail.files import artifacts

TEMPLATES = Path(__file__).parent
HEAVY, JPEG_QUALITY = 300_000, 85
"""A page holds some ten pictures and should stay under 5 MB."""


def write(path: Path, template: str, values: Mapping[str, object]) -> None:
    """Write a page.

    Args:
        path: of the page.
        template: name of a file of this folder.
        values: for its variables; text is escaped.

    Raises:
        ArtifactError: the file cannot be written.
    """
    with artifacts.writing(path) as temporary:
        temporary.write_text(filled(template, values), encoding="utf-8")


def filled(template: str, values: Mapping[str, object]) -> str:
    """Return a page as text; arguments as for `write`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(template).render(values)


def picture(pixels: npt.NDArray[np.uint8]) -> str:
    """Return the address that holds a picture, uint8 [H,W,3], as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return _address(buffer.getvalue(), "png")


def picture_file(path: Path) -> str:
    """Return the address that holds a PNG file; as a JPEG if the file is larger than HEAVY bytes.

    Raises:
        ArtifactError: it cannot be read.
    """
    with artifacts.reading(path, "evaluate"):
        content = path.read_bytes()
        if len(content) <= HEAVY:
            return _address(content, "png")
        buffer = io.BytesIO()
        Image.open(io.BytesIO(content)).convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
        return _address(buffer.getvalue(), "jpeg")


def _address(content: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"
