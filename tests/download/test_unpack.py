"""Archives: what a stranger may have packed, and that nothing of it lands outside or fills the disk."""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetrail.download.unpack import unpack
from imagetrail.errors import DataError

Member = tuple[str, bytes]


def make_zip(path: Path, members: Sequence[Member], *, compression: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as opened:
        for name, data in members:
            info = zipfile.ZipInfo()
            info.filename = info.orig_filename = name  # the constructor would correct it
            info.compress_type = compression
            info.external_attr = mode << 16
            opened.writestr(info, data)
    return path


def make_tar(path: Path, members: Sequence[Member], *, compression: str = "gz", kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, f"w:{compression}") as opened:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data) if kind == tarfile.REGTYPE else 0
            info.linkname = "../../canary" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            opened.addfile(info, io.BytesIO(data))
    return path


MAKERS: list[Callable[..., Path]] = [make_zip, make_tar]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a canary above it."""
    (tmp_path / "canary").write_text("untouched")
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def left(place: Path) -> set[str]:
    """What unpacking left, the archive aside."""
    assert (place.parent / "canary").read_text() == "untouched"
    assert {path.name for path in place.parent.iterdir()} == {"canary", "in"}
    return {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file() and p.name != "a"}


@pytest.mark.parametrize(
    "make",
    [
        make_zip,
        lambda path, members: make_zip(path, members, compression=zipfile.ZIP_STORED),
        lambda path, members: make_zip(path, members, compression=zipfile.ZIP_LZMA),
        *(
            (lambda path, members, c=compression: make_tar(path, members, compression=c))
            for compression in ("", "gz", "bz2", "xz")
        ),
    ],
)
def test_files_are_extracted(place: Path, make: Callable[..., Path]) -> None:
    members = [("pets/cat/1.png", b"1"), ("pets/dog/2.png", b"22"), ("pets/.DS_Store", b"x"), ("__MACOSX/._1", b"x")]
    unpack(make(place / "a", members), place / "out", "the archive")
    assert left(place) == {"out/pets/cat/1.png", "out/pets/dog/2.png"}
    assert (place / "out/pets/dog/2.png").read_bytes() == b"22"


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../canary", "'../canary' is outside"),
        ("x/../../canary", "is outside"),
        ("/tmp/canary", "is outside"),
        ("C:\\canary", "is outside"),
        ("C:/canary", "is outside"),
        ("..\\canary", "is outside"),
        ("a\\b.png", "has a backslash"),
        ("a\nb.png", "holds a control character"),
        ("a" * 300 + ".png", "name too long"),
    ],
)
def test_a_bad_member_name_is_rejected_and_named(
    place: Path, make: Callable[..., Path], name: str, message: str
) -> None:
    with pytest.raises(DataError, match="(?i)" + message.replace(".", r"\.")):
        unpack(make(place / "a", [("ok/1.png", b"1"), (name, b"bad")]), place / "out", "the archive")
    assert left(place) == set()
    assert not (place / "out").exists()


def with_folders(path: Path, names: Sequence[str], *, is_zip: bool) -> Path:
    """An archive with entries for its folders, as most programs write them; `./` is that of the archive itself."""
    if is_zip:
        return make_zip(path, [(name, b"" if name.endswith("/") else b"x") for name in names])
    with tarfile.open(path, "w:gz") as opened:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.size = (tarfile.DIRTYPE, 0) if name.endswith("/") else (tarfile.REGTYPE, 1)
            opened.addfile(info, io.BytesIO(b"x"))
    return path


@pytest.mark.parametrize("is_zip", [True, False])
def test_entries_for_folders_are_skipped(place: Path, is_zip: bool) -> None:
    names = ["cat/", "cat/1.png", "dog/", "dog/2.png", "empty/"]
    unpack(with_folders(place / "a", names, is_zip=is_zip), place / "out", "the archive")
    assert left(place) == {"out/cat/1.png", "out/dog/2.png"}
    shutil.rmtree(place / "out")
    with pytest.raises(DataError, match=r"the archive: member '\.\./up' "):
        unpack(with_folders(place / "a", ["cat/1.png", "../up/"], is_zip=is_zip), place / "out", "the archive")
    assert left(place) == set()


def test_names_in_a_tar_may_begin_with_a_dot_and_a_slash(place: Path) -> None:
    """As `tar -c .` writes them."""
    unpack(with_folders(place / "a", ["./", "./cat/", "./cat/1.png"], is_zip=False), place / "out", "the archive")
    assert left(place) == {"out/cat/1.png"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "names", [("a.png", "a.png"), ("a.png", "A.png"), ("d/a", "D/b"), ("é.png", "e\u0301.png"), ("d", "d/a")]
)
def test_colliding_names_are_rejected(place: Path, make: Callable[..., Path], names: tuple[str, str]) -> None:
    archive = make(place / "a", [(name, b"1") for name in names])
    with pytest.raises(DataError, match=r"collides with|cannot be unpacked"):
        unpack(archive, place / "out", "the archive")
    assert left(place) == set()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_links_and_devices_in_a_tar_are_rejected(place: Path, kind: bytes) -> None:
    archive = make_tar(place / "a", [("link", b"")], kind=kind)
    if kind == tarfile.CONTTYPE:  # an old kind of regular file
        unpack(archive, place / "out", "the archive")
        return
    with pytest.raises(DataError, match="member 'link' is a link or a device; pack the file itself"):
        unpack(archive, place / "out", "the archive")
    assert left(place) == set()


def test_links_in_a_zip_are_rejected(place: Path) -> None:
    archive = make_zip(place / "a", [("link", b"../../canary")], mode=stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="member 'link' is a link or a device"):
        unpack(archive, place / "out", "the archive")
    assert left(place) == set()


@pytest.mark.parametrize("make", MAKERS)
def test_a_bomb_is_stopped_before_the_disk_fills(place: Path, make: Callable[..., Path]) -> None:
    archive = make(place / "a", [(f"{n}.png", bytes(10**6)) for n in range(20)])
    assert archive.stat().st_size < 10**5
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        unpack(archive, place / "out", "the archive")
    assert left(place) == set()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_huge_header_is_not_read(place: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 2**30
    with gzip.open(place / "a", "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="a header of 1,073,741,824 bytes"):
            unpack(place / "a", place / "out", "long.tar.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
    assert left(place) == set()


def test_unpacking_stops_before_the_disk_is_full(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagetrail.download.unpack.SPARE", 2**60)
    monkeypatch.setattr("imagetrail.download.unpack.UNPACK_PIECE", 2**10)
    archive = make_zip(place / "a", [("1.png", bytes(2**17))], compression=zipfile.ZIP_STORED)
    with pytest.raises(DataError, match="the disk is full"):
        unpack(archive, place / "out", "the archive")
    assert left(place) == set()


def test_nested_archives_are_not_unpacked(place: Path) -> None:
    inner = make_zip(place / "b", [("../canary", b"bad")]).read_bytes()
    (place / "b").unlink()
    unpack(make_zip(place / "a", [("x/inner.zip", inner)]), place / "out", "the archive")
    assert left(place) == {"out/x/inner.zip"}


def test_an_encrypted_zip_is_reported(place: Path) -> None:
    archive = make_zip(place / "a", [("1.png", b"1")])
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match="is encrypted; unpack it by hand"):
        unpack(archive, place / "out", "the archive")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>Quota exceeded</html>", b"\n <html>"])
def test_a_web_page_is_not_an_archive(place: Path, page: bytes) -> None:
    (place / "a").write_bytes(page)
    with pytest.raises(DataError, match="is not an archive but a web page, perhaps a quota's"):
        unpack(place / "a", place / "out", "the archive")


@pytest.mark.parametrize("data", [b"", b"PK", b"\x1f\x8b", b"Rar!", bytes(600)])
def test_other_files_are_not_archives(place: Path, data: bytes) -> None:
    (place / "a").write_bytes(data)
    with pytest.raises(DataError, match=r"is not an archive|cannot be unpacked"):
        unpack(place / "a", place / "out", "the archive")


def damaged() -> list[bytes]:
    files = [("1.png", bytes(range(256)) * 20), ("2.png", b"2" * 5000)]
    scratch = io.BytesIO()
    with tarfile.open(fileobj=scratch, mode="w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    plain = scratch.getvalue()
    scratch = io.BytesIO()
    with zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files:
            opened.writestr(name, content)
    return [plain, gzip.compress(plain), bz2.compress(plain), lzma.compress(plain), scratch.getvalue()]


@settings(max_examples=200)
@given(
    data=st.sampled_from(damaged()),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3),
)
def test_damaged_archives_give_files_or_our_error(
    data: bytes, cut: float, flips: list[tuple[float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    broken = bytearray(data[: int(len(data) * cut) if not flips else None])
    for where, value in flips:
        broken[int(where * (len(broken) - 1))] ^= value
    (folder / "a").write_bytes(broken)
    try:
        unpack(folder / "a", folder / "out", "the archive")
    except DataError:
        assert not (folder / "out").exists()
    assert {path.name for path in folder.iterdir()} <= {"a", "out"}


NAMES = st.lists(
    st.sampled_from(["..", ".", "a", "b", "", "/", "C:", "\\", "~", "\0", "é", "con"]) | st.text(max_size=3),
    min_size=1,
    max_size=4,
).map("/".join)


@settings(max_examples=200)
@given(members=st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=4), zipped=st.booleans())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_archive_writes_outside_its_folder(
    members: list[Member], zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("members")
    (folder / "in").mkdir()
    try:
        archive = (make_zip if zipped else make_tar)(folder / "in/a", members)
    except (ValueError, UnicodeEncodeError):
        return  # Python itself cannot pack it
    try:
        unpack(archive, folder / "in/out", "the archive")
    except DataError:
        assert not (folder / "in/out").exists()
    assert [path.name for path in folder.iterdir()] == ["in"]
    assert {path.name for path in (folder / "in").iterdir()} <= {"a", "out"}
    for path in folder.rglob("*"):
        assert not path.is_symlink()


# --- whole archives ---------------------------------------------------------------------------------------------------


def tar_bytes(count: int) -> tuple[bytes, list[int]]:
    """(a tar of small files, where each of its headers begins)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as opened:
        for number in range(count):
            info = tarfile.TarInfo(f"{'ab'[number % 2]}/{number}.png")
            info.size = 300
            opened.addfile(info, io.BytesIO(bytes([number + 1]) * 300))
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as opened:
        return buffer.getvalue(), [member.offset for member in opened]


def shortened() -> dict[str, bytes]:
    raw, offsets = tar_bytes(40)
    whole = gzip.compress(raw)
    return {
        "cut within a header": raw[: offsets[20] + 100],
        "cut between two members": raw[: offsets[20]],
        "a gzip of that": gzip.compress(raw[: offsets[20]]),
        "gzip without its trailer": whole[:-8],
        "gzip with a wrong checksum": whole[:-8] + bytes(4) + whole[-4:],
        "gzip cut in its header": b"\x1f\x8b\x08\x04",
        "bzip2 without its end": bz2.compress(raw)[:-10],
        "xz without its end": lzma.compress(raw)[:-10],
        "two in one file, as cat joins them": raw + raw,
        "two compressed ones": whole + whole,
    }


@pytest.mark.parametrize("case", shortened())
def test_a_tar_that_ends_early_is_rejected(place: Path, case: str) -> None:
    """tarfile itself takes most of these for whole."""
    (place / "a").write_bytes(shortened()[case])
    with pytest.raises(DataError, match=r"cannot be unpacked \(.*\); fetch or pack it again"):
        unpack(place / "a", place / "out", "the archive")
    assert left(place) == set()


def test_a_tar_in_several_gzip_members_is_whole(place: Path) -> None:
    """As bgzip and `cat a.gz b.gz` write it, with an extra field in the header."""
    raw, offsets = tar_bytes(40)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(raw[: offsets[20]]) + packer.flush()
    trailer = struct.pack("<II", zlib.crc32(raw[: offsets[20]]), offsets[20])
    extra = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff" + struct.pack("<H", 6) + b"BC\x02\0\0\0"
    (place / "a").write_bytes(extra + body + trailer + gzip.compress(raw[offsets[20] :]))
    unpack(place / "a", place / "out", "the archive")
    assert len(left(place)) == 40


def test_names_in_utf_8_without_the_zips_flag_are_read_as_written(place: Path) -> None:
    """As macOS packs them; names that are not UTF-8 stay in code page 437, as the standard has it."""
    make_zip(place / "a", [("café/x.png", b"1"), ("été.png", b"2")])
    packed = (place / "a").read_bytes()
    for name, spelling in (("café/x.png", "café/x.png".encode()), ("été.png", "été.png".encode("cp437"))):
        stored = name.encode()
        packed = packed.replace(stored, spelling + b"_" * (len(stored) - len(spelling)))
    flags = bytearray(packed)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        position = -1
        while (position := packed.find(signature, position + 1)) >= 0:
            flags[position + offset + 1] &= ~8
    (place / "a").write_bytes(flags)
    unpack(place / "a", place / "out", "the archive")
    assert left(place) == {"out/café/x.png", "out/été.png__"}


def test_folders_and_small_files_count_as_blocks_of_the_disk(place: Path) -> None:
    deep = [(f"a/{number}/{'d/' * 50}x", b"x") for number in range(60)]
    many = [(f"a/{number:06d}", b"x") for number in range(15_000)]
    for members in (deep, many):
        make_tar(place / "a", members)
        with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
            unpack(place / "a", place / "out", "the archive")
        assert left(place) == set()
    make_tar(place / "a", [("d/" * 450 + "x", b"x")])
    with pytest.raises(DataError, match="more than 64 folders deep"):
        unpack(place / "a", place / "out", "the archive")
    assert left(place) == set()
