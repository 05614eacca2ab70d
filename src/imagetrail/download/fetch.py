"""Download files: interrupted downloads resume, files are checked, and no incomplete file is left."""

import hashlib
import ipaddress
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from imagetrail.addresses import expand, shown
from imagetrail.console import bar, progress, warn
from imagetrail.download.job import DOWNLOADS, SourceJob
from imagetrail.download.listing import Problems
from imagetrail.errors import DataError
from imagetrail.files.artifacts import file_sha256

TRIES = 4
REDIRECTS = 5
TIMEOUT = 15.0
"""Seconds to connect, and between two pieces."""
SLOWEST = 1024
"""Bytes per second over any STALL_SPAN seconds; a slower server counts as stalled."""
STALL_SPAN = 20.0
FETCH_PIECE = 2**16
IMAGES_AT_ONCE = 16
ABSENT_SHOWN = 5
FINAL = {401: "it asks for credentials", 403: "it is not allowed", 404: "there is no such file", 410: "it was removed"}
GOOGLE = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")


class _AbsentError(DataError):
    """A server does not have the file."""


class _BrokenOffError(Exception):
    """A failed attempt that may be repeated; `wait` is the delay that the server requested, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(address: str, folder: Path, sha256: str | None) -> Path:
    """Download a file, or take it from an earlier download if its sha256 is known.

    An interrupted download resumes where it stopped, in a later process too. Passwords come from ~/.netrc.

    Args:
        address: http or https; `$NAME` is an environment variable.
        folder: where downloads are kept.
        sha256: the expected sha256; None accepts any file.

    Returns:
        The file, in `folder`.

    Raises:
        DataError: the server refuses, stalls, sends less than it announced, or a file whose sha256 differs.
    """
    real = expand(address)
    path = _kept(real, folder)
    if sha256 is not None and path.is_file() and file_sha256(path) == sha256:
        return path
    partial = path.with_suffix(".part")
    if urlsplit(real).hostname in GOOGLE:
        _from_google(real, partial)
    else:
        _from_web(real, partial)
    found = file_sha256(partial)
    if sha256 is not None and found != sha256:
        partial.unlink()
        raise DataError(
            f"{shown(real)} has sha256 {found} and download.sha256 is {sha256}; ask whether it has changed."
        )
    if sha256 is None:
        warn(
            f"{shown(real)} has sha256 {found}; set download.sha256 to that, so that no other file can take its place."
        )
    return partial.replace(path)


def fetch_images(images: Mapping[str, str], job: SourceJob) -> None:
    """Download images by their addresses, each once: what an earlier run fetched is taken from there.

    One that the server does not have is left out, and `preprocess` rejects it as missing.

    Args:
        images: addresses by the names that the images get.
        job: whose folder gets the images, in images/.

    Raises:
        DataError: servers refuse or do not answer; all that failed are named.
    """
    kept, folder = job.root / DOWNLOADS, job.folder / "images"
    folder.mkdir()
    problems, lost = Problems(kept, job.root), 0
    with ThreadPoolExecutor(IMAGES_AT_ONCE) as pool:
        found = pool.map(lambda name: _image(images[name], kept), images)
        answers = zip(images, found, strict=True)
        for name, answer in progress(answers, total=len(images), description="download", unit="image"):
            if isinstance(answer, Path):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(answer, folder / name)
            elif isinstance(answer, _AbsentError):
                lost += 1
                if lost <= ABSENT_SHOWN:
                    warn(str(answer))
            else:
                problems.add(str(answer))
    problems.check()
    if lost > ABSENT_SHOWN:
        warn(f"{lost} images are not where the table says; `preprocess` lists them.")


def _image(address: str, kept: Path) -> Path | DataError:
    path = _kept(address, kept)
    if path.is_file():
        return path
    partial = path.with_suffix(".part")
    try:
        _from_web(address, partial, shows=False)
    except DataError as error:
        return error
    return partial.replace(path)


def _kept(address: str, folder: Path) -> Path:
    """Return the path of an address's download."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / hashlib.sha256(address.encode()).hexdigest()[:16]


# --- http -------------------------------------------------------------------------------------------------------------


def _from_web(address: str, partial: Path, shows: bool = True) -> None:
    for number in range(1, TRIES + 1):
        try:
            _continue(address, partial, shows)
        except (_BrokenOffError, requests.RequestException, HTTPError, OSError) as error:
            reason = str(error) if isinstance(error, _BrokenOffError) else _reason(error)
            if number == TRIES:
                raise DataError(
                    f"{shown(address)} could not be fetched in {TRIES} tries ({reason}); run the command again to "
                    "resume, or put the file into download.path."
                ) from None
            wait = error.wait if isinstance(error, _BrokenOffError) else None
            time.sleep(min(2.0 ** (number - 2) if wait is None else wait, TIMEOUT))
        else:
            return


def _continue(address: str, partial: Path, shows: bool) -> None:
    """Fetch what is missing of a file, with a bar if `shows`.

    Raises:
        DataError: repeating the request cannot help.
    """
    done = partial.stat().st_size if partial.is_file() else 0
    version = partial.with_suffix(".version")
    headers = {"Accept-Encoding": "identity"}
    if done and version.is_file():
        headers |= {"Range": f"bytes={done}-", "If-Range": version.read_text(encoding="utf-8")}
    with requests.Session() as session, _answer(session, address, headers) as answer:
        if answer.status_code == 416:  # the file is already complete
            partial.unlink()
            raise _BrokenOffError("its length has changed")
        resumed = answer.status_code == 206
        done = done if resumed else 0
        if mark := answer.headers.get("ETag") or answer.headers.get("Last-Modified"):
            version.write_text(mark, encoding="utf-8")
        else:
            version.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        with (
            partial.open("ab" if resumed else "wb") as file,
            bar("download", total=total, unit="B", done=done, hidden=not shows) as moving,
        ):
            for piece in _pieces(answer, shown(address)):
                file.write(piece)
                moving.update(len(piece))
            written = file.tell()
    if total is not None and written != total:
        raise _BrokenOffError(f"it broke off after {written} of {total} bytes")
    version.unlink(missing_ok=True)


@contextmanager
def _answer(session: requests.Session, address: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    """Follow redirects and yield the final response, its body not yet read."""
    start = address
    for _ in range(REDIRECTS + 1):
        with session.get(address, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False) as answer:
            if not answer.is_redirect:
                _check_status(answer, address)
                yield answer
                return
        onward = urljoin(address, answer.headers["Location"])
        if reason := _unsafe(address, onward):
            raise DataError(f"{shown(start)} redirects to {shown(onward)}, {reason}; give the file's own address.")
        address = onward
    raise DataError(f"{shown(start)} redirects more than {REDIRECTS} times; give the file's own address.")


def _check_status(answer: requests.Response, address: str) -> None:
    code = answer.status_code
    if code == 429 or code >= 500:
        wait = answer.headers.get("Retry-After", "")
        raise _BrokenOffError(f"status {code}", float(wait) if wait.isdigit() else None)
    if code not in (200, 206, 416):
        kind = _AbsentError if code in (404, 410) else DataError
        raise kind(
            f"{shown(address)} answers with status {code} ({FINAL.get(code, answer.reason)}); open it in a browser, "
            "then correct the address."
        )


def _unsafe(here: str, onward: str) -> str | None:
    """Explain why a redirect is rejected, or return None.

    A server must not redirect to hosts that only this machine can reach.
    """
    parts = urlsplit(onward)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "which is not on the web"
    if urlsplit(here).scheme == "https" and parts.scheme == "http":
        return "which is not encrypted"
    if parts.hostname != urlsplit(here).hostname and any(map(_private, _numbers(parts.hostname))):
        return "which is a private address"
    return None


def _numbers(host: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    except OSError:
        return []  # so it cannot be requested either


def _private(number: str) -> bool:
    address = ipaddress.ip_address(number.partition("%")[0])
    return not address.is_global or address.is_multicast


def _pieces(answer: requests.Response, name: str) -> Iterator[bytes]:
    """Yield the body while it arrives faster than SLOWEST."""
    begin, count = time.monotonic(), 0
    while piece := answer.raw.read1(FETCH_PIECE):  # whatever has arrived, even a single byte
        yield piece
        count += len(piece)
        if (now := time.monotonic()) - begin > STALL_SPAN:
            if count < SLOWEST * STALL_SPAN:
                raise DataError(
                    f"{name} has stalled: {count} bytes in {now - begin:.0f} s; run the command again later to resume."
                )
            begin, count = now, 0


def _reason(error: Exception) -> str:
    """Describe an error without the address, which requests repeats in its messages."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return getattr(cause, "strerror", None) or type(cause).__name__


# --- Google Drive -----------------------------------------------------------------------------------------------------


def _from_google(address: str, partial: Path) -> None:
    """Download through gdown, which gets past the pages that Google shows before a large file."""
    try:
        import gdown
    except ImportError:
        raise DataError(
            "files on Google Drive are fetched by gdown, which is not installed; run `pip install gdown` and repeat."
        ) from None
    try:
        with bar("download", total=None, unit="B") as moving:

            def move(done: int, total: int | None) -> None:
                moving.total = total
                moving.update(done - moving.n)

            gdown.download(address, str(partial), quiet=True, resume=True, use_cookies=False, progress=move)
    except Exception as error:
        raise DataError(
            f"{shown(address)} could not be fetched ({_reason(error)}); share the file with anyone who has the link, "
            "or fetch it by hand into download.path."
        ) from None
