"""Image formats: those that are decoded, and the names of others for messages.

Formats are an allowlist, so no other parser of Pillow runs.
"""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
HEIC = "HEIF"
"""Pillow's name of the format that the extra `heic` decodes."""
EXTENSIONS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
    ".png": "PNG", ".apng": "PNG", ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM", ".pfm": "PPM",
    ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".jpx": "JPEG2000", ".j2c": "JPEG2000", ".jpf": "JPEG2000",
    ".avif": "AVIF", ".heic": HEIC, ".heif": HEIC,
}  # fmt: skip
"""Format that each file name extension implies."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
OTHERS = (
    (b"8BPS", "a Photoshop file"), (b"%PDF", "a PDF"), (b"%!PS", "PostScript"), (b"\0\0\1\0", "an icon (ICO)"),
    (b"\xff\n", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"v/1\x01", "OpenEXR"), (b"#?RADIANCE", "Radiance HDR"),
    (b"PK\3\4", "a zip archive"), (b"\x1f\x8b", "a gzip file"), (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"), (b"SIMPLE  =", "FITS"), (b"qoif", "QOI"), (b"icns", "an icon (ICNS)"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched"),
)  # fmt: skip
"""Beginnings of files that people take for images."""
DICOM_MARK = slice(128, 132)
TEXTS = (("<svg", "SVG"), ("<!doctype html", "a web page"), ("<html", "a web page"))


def is_heic(data: bytes) -> bool:
    """Return whether a file is HEIC or HEIF, by its brand."""
    return data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS


def named(data: bytes) -> str | None:
    """Name what a file is if it is none of FORMATS; None if that is unknown."""
    if data[DICOM_MARK] == b"DICM":
        return "DICOM"
    for beginning, name in OTHERS:
        if data.startswith(beginning):
            return name
    start = data[:1000].decode("latin-1").lower()
    return next((name for word, name in TEXTS if word in start), None)
