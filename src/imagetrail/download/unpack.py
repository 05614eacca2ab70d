"""Unpack untrusted archives: only regular files, only inside the folder, and not more than the disk can hold."""

import bz2
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from imagetrail.console import bar
from imagetrail.download import names
from imagetrail.errors import DataError

LARGEST_RATIO = 100
"""Largest ratio of unpacked to packed bytes; photographs hardly shrink, bombs do. Files and folders count as blocks."""
HARMLESS = 2**21
"""Unpacked bytes that any archive may have."""
MOST_MEMBERS = 10_000_000
SPARE = 2**28
"""Bytes of the disk that stay free."""
UNPACK_PIECE = 2**20
ZIP_UTF8 = 1 << 11
"""Flag of a zip's member: its name is in UTF-8 (APPNOTE.TXT 4.4.4)."""
TAR_END = 1024
"""Zero bytes that end a tar: two blocks."""
COMPRESSIONS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""By the first bytes of a file. Unlike tarfile's own streams, these verify checksums and read all members of a file."""
BLOCK = 4096
"""Bytes of the disk that the smallest file or folder takes."""
DEEPEST = 64
"""Folders above a file."""
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,  # UnicodeDecodeError among them
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,
    OverflowError,
)


class _Member(NamedTuple):
    name: str
    """The name as stored in the archive."""
    reader: IO[bytes]


def unpack(archive: Path, folder: Path, called: str) -> None:
    """Unpack a zip or a tar, compressed or not, into a folder that this makes.

    Members whose name, or that of a folder above them, begins with a dot are left out, as are empty folders. Nested
    archives are not unpacked.

    Args:
        archive: the file.
        folder: to be made.
        called: what the archive is called in messages.

    Raises:
        DataError: it is not an archive, is damaged or encrypted, unpacks to more than LARGEST_RATIO or the disk allow,
            or a member is a link or a device, has a name that leads out of the folder, or one that differs from another
            only by case. The folder is removed.
    """
    limit = max(HARMLESS, LARGEST_RATIO * archive.stat().st_size)
    folder.mkdir()
    try:
        with bar("unpack", total=None, unit="file") as moving:
            seen: dict[str, str] = {}
            written = 0
            for member in _members(archive, called):
                if reason := names.problem(member.name) or _twice(seen, member.name):
                    raise DataError(f"{called}: member {reason}")
                if member.name.count("/") > DEEPEST:
                    raise DataError(f"{called}: member {member.name[:80]!r}… is more than {DEEPEST} folders deep.")
                if len(seen) * BLOCK > limit:
                    raise _too_large(called)
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                written = _copy(member, target, written, limit, called)
                moving.update()
    except DataError:
        shutil.rmtree(folder)
        raise
    except DAMAGED as error:
        shutil.rmtree(folder)
        text = getattr(error, "strerror", None) or " ".join(str(error).split())
        reason = text or type(error).__name__
        raise DataError(f"{called} cannot be unpacked ({reason}); fetch or pack it again.") from None


def _members(archive: Path, called: str) -> Iterator[_Member]:
    with archive.open("rb") as file:
        start = file.read(262 + 2)
    if start.startswith(b"PK"):
        return _zip_members(archive, called)
    if start.startswith(tuple(COMPRESSIONS)) or start[257:262] == b"ustar":
        return _tar_members(archive, called)
    what = "a web page, perhaps a quota's or a log-in's" if start.lstrip()[:1] == b"<" else "neither zip nor tar"
    raise DataError(f"{called} is not an archive but {what}; open it and see.")


def _zip_members(archive: Path, called: str) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        _check_count(len(members), called)
        for info in members:
            name = _zip_name(info)
            if name.endswith("/"):
                reason = names.problem(name.rstrip("/"))
                if reason:
                    raise DataError(f"{called}: member {reason}")
                continue
            if info.flag_bits & 1:
                raise DataError(f"{called} is encrypted; unpack it by hand into download.path.")
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise DataError(f"{called}: member {name!r} is a link or a device; pack the file itself.")
            if not _hidden(name):
                with opened.open(info) as reader:
                    yield _Member(name, reader)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name as it is stored; zipfile itself changes backslashes, and cuts it at NUL.

    Without the flag for UTF-8, names are in code page 437 by the standard, but many programs, macOS's among them, write
    UTF-8 all the same; other text is hardly ever valid UTF-8 by chance.
    """
    name = info.orig_filename
    if info.flag_bits & ZIP_UTF8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


class _Header(tarfile.TarInfo):
    """A tar's header; those that only name the next one are read whole into memory, so they must be short."""

    def _proc_member(self, opened: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in NAMING and self.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes, and names are shorter")
        member: tarfile.TarInfo = super()._proc_member(opened)  # type: ignore[misc]  # tarfile's own hook
        return member


NAMING = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
LONGEST_HEADER = 2**16


class _Whole:
    """A decompressed tar, which must be read to its end: only there do checksums and a missing end mark show."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._position = self._content = 0  # bytes up to here, and up to the last that is not zero

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        if content := len(piece.rstrip(b"\0")):
            self._content = self._position + content
        self._position += len(piece)
        return piece

    def finish(self, end: int) -> None:
        """Read the rest; raise ReadError unless the tar, whose members are before `end`, ends as it should."""
        while self.read(UNPACK_PIECE):
            pass
        if self._content > end:
            raise tarfile.ReadError("more follows its end mark, so it may be several archives in one file")
        if self._position - end < TAR_END:
            raise tarfile.ReadError("it ends before its end mark, so files may be missing")


def _tar_members(archive: Path, called: str) -> Iterator[_Member]:
    with _decompressed(archive) as file:
        whole = _Whole(file)
        with tarfile.open(fileobj=whole, mode="r|", tarinfo=_Header) as opened:  # type: ignore[call-overload]
            yield from _files(opened, called)
            end = opened.offset
        whole.finish(end)


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        start = file.read(6)
    function = next((function for magic, function in COMPRESSIONS.items() if start.startswith(magic)), open)
    decompressed: IO[bytes] = function(archive, "rb")
    return decompressed


def _files(opened: tarfile.TarFile, called: str) -> Iterator[_Member]:
    for count, info in enumerate(opened):
        _check_count(count, called)
        opened.members = []  # type: ignore[attr-defined] # tarfile would remember every member
        name = info.name.removeprefix("./")
        if info.isdir():
            if name not in (".", "") and (reason := names.problem(name)):
                raise DataError(f"{called}: member {reason}")
            continue
        if not info.isfile():
            raise DataError(f"{called}: member {name!r} is a link or a device; pack the file itself.")
        if not _hidden(name):
            reader = opened.extractfile(info)
            assert reader is not None, "of a regular file"
            with reader:
                yield _Member(name, reader)


def _check_count(count: int, name: str) -> None:
    if count > MOST_MEMBERS:
        raise DataError(f"{name} has more than {MOST_MEMBERS:,} members; split it.")


def _hidden(name: str) -> bool:
    return any(names.is_hidden(part) and not part.startswith("..") and part != "." for part in name.split("/"))


def _twice(seen: dict[str, str], name: str) -> str | None:
    """Explain why a name, or a folder in it, collides with an earlier one on some systems."""
    parts = name.split("/")
    for path in ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1)):
        earlier = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if earlier != path or (path is name and earlier is not name):
            return f"{path!r} collides with {earlier!r} on some systems; rename one"
    return None


def _too_large(called: str) -> DataError:
    return DataError(
        f"{called} unpacks to more than {LARGEST_RATIO} times its size, which images do not; unpack it by hand into "
        "download.path if you trust it."
    )


def _copy(member: _Member, target: Path, written: int, limit: int, called: str) -> int:
    """Write a member; returns the bytes of all members up to now."""
    with target.open("xb") as file:
        while piece := member.reader.read(UNPACK_PIECE):
            written += len(piece)
            if written > limit:
                raise _too_large(called)
            file.write(piece)
            if written % (64 * UNPACK_PIECE) < len(piece) and shutil.disk_usage(target.parent).free < SPARE:
                raise DataError(f"{called}: the disk is full but for {SPARE >> 20} MiB; free some and repeat.")
    return written
