"""Decoding: golden pixels against what the formats say, and no crash on anything."""

import io
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import rgb2gray

from bench import fuzz
from imagetrail.errors import DataError
from imagetrail.files.form import Form
from imagetrail.preprocess import decode, formats


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(height: int = 24, width: int = 32) -> Image.Image:
    """A smooth coloured image, so that JPEG keeps it nearly."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width - 2)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def test_pixels_are_uint8_channels_first() -> None:
    data = encode(photo(), "PNG")
    assert decode.decode(data, Form(3, (10, 12), None)).pixels.shape == (3, 10, 12)
    grey = decode.decode(data, Form(1, (10, 12), None)).pixels
    assert (grey.shape, grey.dtype) == ((1, 10, 12), np.uint8)


def test_an_image_of_the_wanted_size_keeps_its_pixels() -> None:
    pixels = decode.decode(encode(photo(), "PNG"), Form(3, (24, 32), None)).pixels
    assert np.array_equal(pixels, np.asarray(photo()).transpose(2, 0, 1))


def test_grey_is_rec_709_as_in_scikit_image() -> None:
    ours = decode.decode(encode(photo(), "PNG"), Form(1, (24, 32), None)).pixels[0]
    assert np.abs(ours - rgb2gray(np.asarray(photo())) * 255).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = photo(24, 24)
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that undo each orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode.decode(encode(stored, "JPEG", quality=95, exif=exif), Form(3, (24, 24), None)).pixels
    expected = np.asarray(upright).transpose(2, 0, 1).astype(int)
    assert np.abs(decoded - expected).mean() < 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_jpegs_are_decoded_upright(orientation: int) -> None:
    upright = photo(240, 640)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose.ROTATE_90)
    decoded = decode.decode(encode(stored, "JPEG", quality=95, exif=exif), Form(3, (60, 80), None)).pixels.astype(int)
    assert np.abs(decoded - np.asarray(upright.resize((80, 60))).transpose(2, 0, 1)).mean() < 2


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_and_colour_profiles_are_ignored(kind: str, exif: bytes) -> None:
    data = encode(photo(), kind, exif=exif, icc_profile=b"garbage")
    assert decode.decode(data, Form(3, (24, 32), None)).pixels.shape == (3, 24, 32)


def test_both_jpeg_decoders_give_the_same_pixels(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [
        *sorted((test_data / "flower-photos/test").rglob("*.jpg"))[::15],
        *sorted((test_data / "cats-dogs/test").rglob("*.jpg"))[::15],
    ]
    data = [path.read_bytes() for path in files] + [encode(photo(300, 200).convert("L"), "JPEG")]
    forms = [Form(3, (28, 28), None), Form(1, (90, 60), None), Form(3, (64, 64), 72)]
    ours = [decode.decode(d, form).pixels for d in data for form in forms]

    def refuse(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr("imagetrail.preprocess.decode.simplejpeg.decode_jpeg", refuse)
    pillows = [decode.decode(d, form).pixels for d in data for form in forms]
    assert all(np.array_equal(a, b) for a, b in zip(ours, pillows, strict=True))


def test_xmp_orientation_applies_to_a_jpeg_without_exif() -> None:
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    data = encode(photo(24, 32), "JPEG", quality=95, xmp=xmp)
    decoded = decode.decode(data, Form(3, (32, 24), None))
    assert decoded.size == (32, 24)
    expected = np.asarray(photo(24, 32).transpose(Image.Transpose.ROTATE_270)).transpose(2, 0, 1).astype(int)
    assert np.abs(decoded.pixels - expected).mean() < 2


def test_a_jpeg_of_too_many_pixels_is_not_decoded() -> None:
    data = encode(Image.new("L", (9500, 9500)), "JPEG")
    with pytest.raises(DataError, match="more pixels than is safe to open"):
        decode.decode(data, Form(3, (28, 28), None))


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def grey_jpeg(frame: int, size: int, sampling: list[int], scan: tuple[int, int, int], bits: int) -> bytes:
    """A JPEG of one grey: Huffman codes of one bit, all of them zero, in a frame of any kind."""
    components = b"".join(bytes([number, factors, 0]) for number, factors in enumerate(sampling, start=1))
    tables = segment(0xC4, bytes([0x00, 1] + [0] * 15 + [0])) + segment(0xC4, bytes([0x10, 1] + [0] * 15 + [0]))
    header = segment(frame, struct.pack(">BHHB", 8, size, size, len(sampling)) + components)
    chosen = b"".join(bytes([number, 0]) for number in range(1, len(sampling) + 1))
    start = segment(0xDA, bytes([len(sampling)]) + chosen + bytes(scan))
    quantisation = segment(0xDB, bytes([0] + [16] * 64))
    return b"\xff\xd8" + quantisation + header + tables + start + b"\0" * (bits // 8) + b"\xff\xd9"


@pytest.mark.parametrize("components", [1, 3])
def test_lossless_jpeg_is_not_decoded_at_reduced_size(components: int) -> None:
    """simplejpeg decodes SOF3 at full size into a buffer for a smaller one: on the old code this process crashes."""
    data = grey_jpeg(0xC3, 1504, [0x11] * components, (1, 0, 0), 1504 * 1504 * components)
    decoded = decode.decode(data, Form(3, (64, 64), None))
    assert decoded.size == (1504, 1504)
    assert np.unique(decoded.pixels).tolist() == [128]


def test_jpeg_with_rare_subsampling_is_decoded() -> None:
    """simplejpeg has no name for 4:4:1 and raises KeyError."""
    data = grey_jpeg(0xC0, 32, [0x14, 0x11, 0x11], (0, 63, 0), 2 * 4 * 6)
    assert decode.decode(data, Form(3, (8, 8), None)).pixels.shape == (3, 8, 8)


def test_jpeg_fill_bytes_before_a_marker_are_skipped() -> None:
    plain = encode(photo(240, 320), "JPEG", quality=95)
    padded = plain[:2] + b"\xff\xff" + plain[2:]
    assert decode._jpeg_segments(padded) == decode._jpeg_segments(plain) != []
    form = Form(3, (24, 32), None)
    assert np.array_equal(decode.decode(padded, form).pixels, decode.decode(plain, form).pixels)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_damaged_pixels_are_not_mistaken_for_damaged_exif(kind: str) -> None:
    """Pillow loads the pixels to look for EXIF behind them; what that raises is about the pixels."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    damaged = 0
    for position in range(60, len(data) - 40, 301):
        bad = bytearray(data)
        bad[position] ^= 0x55
        try:
            Image.open(io.BytesIO(bytes(bad))).load()
        except (OSError, SyntaxError, ValueError):
            damaged += 1
            with pytest.raises(DataError):
                decode.decode(bytes(bad), Form(3, (64, 64), None))
    assert damaged or kind != "PNG", "Pillow itself must have found some damage"


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 256).reshape(16, 16).round().astype(np.uint16)
    decoded = decode.decode(encode(Image.fromarray(levels), "PNG"), Form(1, (16, 16), None)).pixels[0]
    assert np.array_equal(decoded, np.arange(256).reshape(16, 16))
    levels = np.array([[0, 128, 129, 1000], [32767, 32768, 65406, 65407]], np.uint16)  # not only multiples of 257
    decoded = decode.decode(encode(Image.fromarray(levels), "PNG"), Form(1, (2, 4), None)).pixels[0]
    assert decoded.tolist() == [[0, 0, 1, 4], [127, 128, 254, 255]]


def test_cmyk_is_converted_correctly() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    red, green, blue = decode.decode(encode(cmyk, "JPEG", quality=100), Form(3, (8, 8), None)).pixels[:, 4, 4].tolist()
    assert red > 200
    assert max(green, blue) < 60


def test_transparent_pixels_become_white() -> None:
    rgba = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (decode.decode(encode(rgba, "PNG"), Form(3, (4, 4), None)).pixels == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] + [0] * 765)
    assert (decode.decode(encode(palette, "PNG", transparency=0), Form(3, (4, 4), None)).pixels == 255).all()
    assert decode.decode(encode(palette, "PNG"), Form(3, (4, 4), None)).pixels[:, 0, 0].tolist() == [10, 20, 30]


def test_one_bit_images_are_black_and_white() -> None:
    assert decode.decode(encode(Image.new("1", (4, 4), 1), "PNG"), Form(1, (4, 4), None)).pixels.min() == 255


def test_animations_use_their_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode.decode(data, Form(3, (4, 4), None)).pixels[:, 0, 0].tolist() == [255, 0, 0]


def test_the_format_comes_from_the_content(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(encode(photo(), "PNG"))
    assert decode.decode(decode.read(path), Form(3, (24, 32), None)).pixels.shape == (3, 24, 32)


def png(size: tuple[int, int], depth: int, colour: int, data: bytes, key: bytes = b"", interlace: int = 0) -> bytes:
    """A PNG of (width, height) with these scanlines, and the transparent colour `key`."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace))
    transparent = chunk(b"tRNS", key) if key else b""
    return b"\x89PNG\r\n\x1a\n" + header + transparent + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)], ids=str)
def test_the_transparent_colour_of_grey_and_rgb_becomes_white(depth: int, colour: int) -> None:
    """Two lines: the first of the key's colour, the largest value; the second black."""
    samples = 8 * (3 if colour == 2 else 1)
    lines = b"\0" + b"\xff" * (samples * depth // 8) + b"\0" + bytes(samples * depth // 8)
    key = struct.pack(">H", 2**depth - 1) * (3 if colour == 2 else 1)
    black = struct.pack(">H", 0) * (3 if colour == 2 else 1)
    for transparent, expected in ((key, [255, 0]), (black, [255, 255])):
        data = png((8, 2), depth, colour, lines, transparent)
        assert decode.decode(data, Form(3, (2, 8), None)).pixels[:, :, 0].tolist() == [expected] * 3


def test_a_png_without_its_last_rows_is_truncated() -> None:
    """The compressed data ends properly, so no decoder complains."""
    line = b"\0" + b"\x80" * 24
    with pytest.raises(DataError, match="truncated: data is missing for its last rows"):
        decode.decode(png((8, 8), 8, 2, line * 3), Form(3, (8, 8), None))
    black_at_the_end = line * 7 + bytes(25)
    assert decode.decode(png((8, 8), 8, 2, black_at_the_end), Form(3, (8, 8), None)).pixels[0, :, 0].tolist()[-1] == 0
    for side in range(1, 10):  # all passes of an interlaced image, of which small ones lack some
        image = png((side, side), 8, 0, bytes(3 * side * side + 30), interlace=1)
        assert decode.decode(image, Form(1, (side, side), None)).pixels.max() == 0


def test_black_rows_are_not_inflated_without_bound() -> None:
    """A few kilobytes of PNG may inflate to gigabytes, of which a decoder takes what the image needs."""
    data = png((8, 8), 8, 2, bytes(2**28))
    tracemalloc.start()
    assert decode.decode(data, Form(3, (8, 8), None)).pixels.max() == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_a_jpeg_without_most_of_its_data_is_truncated() -> None:
    """With an end marker libjpeg fills in grey and only warns."""
    data = encode(photo(256, 256), "JPEG", quality=90)
    with pytest.raises(DataError, match="truncated: data is missing before its end marker"):
        decode.decode(data[: len(data) * 3 // 10] + b"\xff\xd9", Form(3, (256, 256), None))


def test_a_jpeg_with_corrupt_data_is_decoded_with_a_complaint() -> None:
    data = encode(photo(), "JPEG")
    assert decode.decode(data, Form(3, (24, 32), None)).complaint == ""
    corrupt = data[:-2] + b"U" * 40 + data[-2:]
    complaint = decode.decode(corrupt, Form(3, (24, 32), None)).complaint
    assert re.fullmatch(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9", complaint)


def test_a_jpeg_of_thousands_of_scans_is_rejected() -> None:
    data = encode(photo(), "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(DataError, match="more than 500 scans"):
        decode.decode(data[:-2] + scan * 501 + b"\xff\xd9", Form(3, (8, 8), None))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_canvas_around_the_first_frame_of_a_gif_is_white(channels: int) -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    data = bytearray(encode(palette, "GIF"))
    data[6:10] = struct.pack("<HH", 16, 12)  # the canvas
    pixels = decode.decode(bytes(data), Form(channels, (12, 16), None)).pixels
    assert (pixels[:, 8:] == 255).all() and (pixels[:, :, 8:] == 255).all()
    assert pixels[:, 0, 0].tolist() == ([255, 0, 0] if channels == 3 else [54])


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    return png((width, height), 8, 0, b"\0" * 10)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image: the file is empty"),
        (b"hello", "not an image, or its format is not one of JPEG, PNG"),
        (b"<?xml version='1.0'?><svg></svg>", "not an image of JPEG, PNG, .* AVIF, but SVG; convert it"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of .*, but PostScript"),
        (b"8BPS\0\1", "but a Photoshop file"),
        (b"\0" * 128 + b"DICM", "but DICOM"),
        (encode(photo(), "TIFF")[:-60], "damaged|truncated"),
        (encode(photo(), "JPEG")[:-200], "damaged"),
        (encode(photo(), "PNG")[:-60], "damaged"),
        (png_header(13000, 13000), "more pixels than is safe"),
        (png_header(30000, 30000), "more pixels than is safe"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "eps",
        "psd",
        "dicom",
        "short tiff",
        "short jpeg",
        "short png",
        "bomb 13000",
        "bomb 30000",
    ],
)
def test_unusable_images_report_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode.decode(data, Form(3, (8, 8), None))


@settings(max_examples=300)
@given(
    base=st.sampled_from([encode(photo(), kind) for kind in formats.FORMATS] + [b""]),
    position=st.integers(0, 2000),
    inserted=st.binary(max_size=20),
)
def test_random_bytes_give_pixels_or_our_error(base: bytes, position: int, inserted: bytes) -> None:
    data = base[:position] + inserted + base[position + len(inserted) :]
    try:
        pixels = decode.decode(data, Form(3, (8, 8), None)).pixels
    except DataError:
        return
    assert (pixels.shape, pixels.dtype) == ((3, 8, 8), np.uint8)


def test_a_missing_file_suggests_the_existing_name(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"missing; 'cat\.jpg' is there"):
        decode.read(tmp_path / "cat.JPG")
    with pytest.raises(DataError, match=r"^missing$"):
        decode.read(tmp_path / "dog.jpg")
    with pytest.raises(DataError, match="a folder, not an image"):
        decode.read(tmp_path)


def test_resizing_matches_the_reference(test_data: Path) -> None:
    """On a real photograph: Pillow's antialiased filter against scikit-image's."""
    from skimage.io import imread
    from skimage.transform import resize

    path = next((test_data / "cats-dogs/test/cat").glob("*.jpg"))
    ours = decode.decode(path.read_bytes(), Form(1, (28, 28), None)).pixels[0] / 255
    assert np.abs(ours - resize(imread(path, as_gray=True), (28, 28), anti_aliasing=True)).mean() < 0.02


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (40, 40)])
def test_short_side_crops_the_centre_without_stretching(width: int, height: int) -> None:
    """Against torchvision's own order: resize the short side, then cut the centre."""
    import torch
    from torchvision.transforms import v2

    image = photo().resize((width, height))
    ours = decode.decode(encode(image, "PNG"), Form(3, (16, 12), 20)).pixels.astype(int)
    resized = v2.functional.resize(image, [20], interpolation=v2.InterpolationMode.BILINEAR, antialias=True)
    theirs = v2.functional.pil_to_tensor(v2.functional.center_crop(resized, [16, 12])).to(torch.int64).numpy()
    assert ours.shape == theirs.shape == (3, 16, 12)
    assert np.abs(ours - theirs).mean() < 1.5


@given(width=st.integers(1, 400), height=st.integers(1, 400), short=st.integers(24, 256))
def test_a_centre_can_be_cropped_from_any_image(width: int, height: int, short: int) -> None:
    for side in (24, short):
        assert decode.resize(Image.new("L", (width, height)), Form(1, (side, side), short)).shape == (1, side, side)


def test_size_limits_apply_to_the_upright_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = encode(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
    with decode.opened(data) as image:
        assert decode.upright_size(image) == (30, 20)
    assert decode.decode(data, Form(3, (3, 2), None), expected=(30, 20)).pixels.shape == (3, 3, 2)
    with pytest.raises(DataError, match=r"30 x 20 pixels, and preprocess\.divisor needs 20 x 30"):
        decode.decode(data, Form(3, (3, 2), None), expected=(20, 30))


def test_mutated_files_give_pixels_or_a_sentence() -> None:
    """`python -m bench fuzz` decodes 100,000."""
    assert {fuzz.outcome(seed=7, number=number) for number in range(400)} == {"pixels", "sentence"}


# --- TIFF, PPM, JPEG 2000, AVIF, HEIC -------------------------------------------------------------------------------

LOSSLESS = {
    "TIFF": {}, "TIFF, LZW": {"compression": "tiff_lzw"}, "TIFF, deflate": {"compression": "tiff_deflate"},
    "TIFF, PackBits": {"compression": "packbits"}, "PPM": {}, "JPEG2000": {}, "AVIF": {"quality": 100},
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSLESS)
def test_other_formats_give_the_pixels_of_a_png(kind: str) -> None:
    form = Form(3, (24, 32), None)
    data = encode(photo(), kind.partition(",")[0], **LOSSLESS[kind])
    difference = np.abs(
        decode.decode(data, form).pixels.astype(int) - decode.decode(encode(photo(), "PNG"), form).pixels
    )
    assert difference.max() <= (8 if kind == "AVIF" else 0)


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_files_cut_short_are_rejected(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, kind.partition(",")[0], **LOSSLESS[kind])
    with pytest.raises(DataError):
        decode.decode(data[: int(len(data) * share)], Form(3, (64, 64), None))


def levels(values: np.ndarray, kind: str = "TIFF", value_range: tuple[int, int] | None = None, **options) -> list[int]:
    """Decode one row of grey values."""
    data = encode(Image.fromarray(values.reshape(1, -1)), kind, **options)
    return decode.decode(data, Form(1, (1, values.size), None, value_range)).pixels.ravel().tolist()


def test_grey_of_more_than_8_bits_is_scaled() -> None:
    deep = np.array([0, 257, 32896, 65535], np.uint16)
    assert levels(deep) == levels(deep, "PNG") == levels(deep, "PPM") == levels(deep, "JPEG2000") == [0, 1, 128, 255]
    twelve = np.array([0, 16, 2056, 4095], np.uint16)
    assert levels(twelve) == [0, 0, 8, 16]
    for kind in ("TIFF", "PNG", "JPEG2000", "PPM"):
        assert levels(twelve, kind, (0, 4095)) == [0, 1, 128, 255], kind


def test_a_range_clips_what_is_beyond_it_and_leaves_8_bits_alone() -> None:
    assert levels(np.array([0, 100, 200, 999], np.uint16), "TIFF", (100, 200)) == [0, 0, 255, 255]
    assert levels(np.array([0, 100, 200, 255], np.uint8), "PNG", (100, 200)) == [0, 100, 200, 255]


@pytest.mark.parametrize("values", [np.array([-5, 0, 5, 10], np.int32), np.array([-5, 0, 5, 10], np.float32)])
def test_values_of_32_bits_need_a_range(values: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"whose black and white are unknown; set preprocess\.range"):
        levels(values)
    assert levels(values, value_range=(-5, 10)) == [0, 85, 170, 255]


def test_values_that_are_not_numbers_are_black() -> None:
    assert levels(np.array([np.nan, np.inf, -np.inf, 5], np.float32), value_range=(0, 10)) == [0, 255, 0, 128]


def test_white_may_be_zero_in_a_tiff() -> None:
    for values, white in ((np.array([0, 255], np.uint8), 255), (np.array([0, 65535], np.uint16), 65535)):
        data = bytearray(encode(Image.fromarray(values.reshape(1, -1)), "TIFF"))
        entry = data.index(struct.pack("<HHI", 262, 3, 1))
        data[entry + 8 : entry + 10] = struct.pack("<H", 0)
        pixels = decode.decode(bytes(data), Form(1, (1, 2), None)).pixels.ravel().tolist()
        assert pixels == [255, 0], white


def test_a_tiff_of_12_bits_is_scaled_by_them() -> None:
    """Two values of 12 bits in three bytes, written by hand: no encoder here makes them."""
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 1),
            (279, 4, 3)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = b"II*\0" + struct.pack("<I", 12) + bytes([0x80, 0x8F, 0xFF, 0]) + struct.pack("<H", len(tags)) + entries
    data += struct.pack("<I", 0)
    assert decode.decode(data, Form(1, (1, 2), None)).pixels.ravel().tolist() == [128, 255]


def test_the_first_page_of_a_tiff_is_used_and_counted() -> None:
    data = encode(photo(), "TIFF", save_all=True, append_images=[photo().transpose(Image.Transpose.ROTATE_180)])
    found = decode.decode(data, Form(3, (24, 32), None))
    assert found.frames == 2
    assert np.array_equal(found.pixels, decode.decode(encode(photo(), "PNG"), Form(3, (24, 32), None)).pixels)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_is_applied_once_in_other_formats(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    found = decode.decode(encode(photo(), kind, exif=exif, quality=100), Form(3, (32, 32), None))
    upright = photo().transpose(decode.TURNS[orientation])
    assert found.size == upright.size[::-1]
    expected = decode.decode(encode(upright, "PNG"), Form(3, (32, 32), None)).pixels
    assert np.abs(found.pixels.astype(int) - expected).max() <= 6


def test_heic_without_its_decoder_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    data = encode(photo(), "HEIF", quality=100)
    pixels = decode.decode(data, Form(3, (24, 32), None)).pixels
    assert np.abs(pixels.astype(int) - np.asarray(photo()).transpose(2, 0, 1)).max() <= 10
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match="HEIC, without its decoder; run `pip install pillow-heif`"):
        decode.decode(data, Form(3, (24, 32), None))
