"""Tell images from the other files of a folder, by name and first bytes; decoding is preprocess's work."""

from pathlib import Path

from imagetrail.params.download import CORRECTIONS

SUFFIXES = {
    "apng", "avif", "bmp", "cr2", "cr3", "cur", "dcm", "dds", "dib", "dng", "emf", "exr", "gif", "hdr", "heic",
    "heif", "icns", "ico", "j2c", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpf", "jpg", "jpx", "jxl", "mpo", "nef",
    "nii", "orf", "pbm", "pcx", "pfm", "pgm", "png", "pnm", "ppm", "psd", "raw", "rw2", "svg", "tga", "tif", "tiff",
    "webp", "wmf", "xbm", "xpm",
}  # fmt: skip
"""Of image files, whether or not they can be decoded: what cannot is rejected, and not taken for something else."""
BEGINNINGS = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n",
    b"P6\n", b"\0\0\0\x0cjP", b"\xffO\xffQ", b"8BPS", b"\xff\n",
)  # fmt: skip
INSIDE = (b"WEBP", b"ftypavif", b"ftyphei", b"ftypmif1")
"""Marks that follow in the first bytes of a file."""
UNLISTED = (".gitignore", ".gitkeep", ".dvcignore", CORRECTIONS)
"""Files of the repository itself, which nobody takes for data."""


def is_image(path: Path) -> bool:
    """Return whether a file is meant to be an image; a link that leads nowhere is judged by its name."""
    if path.suffix[1:].lower() in SUFFIXES:
        return True
    if path.suffix and path.suffix[1:].isalpha():
        return False
    try:
        if not path.is_file():  # a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start.startswith(BEGINNINGS) or any(mark in start for mark in INSIDE)
