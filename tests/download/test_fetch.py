"""Downloads are resumed, checked and never half there; a server cannot lead elsewhere; secrets are not repeated."""

import hashlib
from pathlib import Path

import pytest
from support import Web, answer

from imagetrail import addresses
from imagetrail.download import fetch as module
from imagetrail.download.fetch import fetch
from imagetrail.errors import DataError

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited between tries."""
    seconds: list[float] = []
    monkeypatch.setattr("imagetrail.download.fetch.time.sleep", seconds.append)
    return seconds


def test_a_download_reports_its_sha256(web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web.answers = [answer(BODY)]
    assert fetch(f"{web.address}/a.zip", tmp_path / "kept", None).read_bytes() == BODY
    assert f"127.0.0.1:{web.address[-5:]}" in (printed := capsys.readouterr().err) or web.address in printed
    assert SHA256 in printed
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [""]


def test_a_known_file_is_not_downloaded_again(web: Web, tmp_path: Path) -> None:
    web.answers = [answer(BODY)]
    first = fetch(f"{web.address}/a.zip", tmp_path, SHA256)
    assert fetch(f"{web.address}/a.zip", tmp_path, SHA256) == first
    assert len(web.requests) == 1


def test_a_broken_download_resumes(web: Web, tmp_path: Path) -> None:
    web.answers = [
        answer(BODY[:5000], length=len(BODY), ETag='"1"'),
        answer(BODY[5000:], status=206, ETag='"1"'),
    ]
    assert fetch(f"{web.address}/a.zip", tmp_path, SHA256).read_bytes() == BODY
    assert web.requests[1]["Range"] == "bytes=5000-"
    assert web.requests[1]["If-Range"] == '"1"'


def test_a_later_process_resumes_too(web: Web, tmp_path: Path) -> None:
    web.answers = [answer(BODY[:5000], length=len(BODY), ETag='"1"')] + [answer(status=503)] * 3
    with pytest.raises(DataError, match="could not be fetched in 4 tries"):
        fetch(f"{web.address}/a.zip", tmp_path, SHA256)
    web.answers += [answer(BODY[5000:], status=206)]
    assert fetch(f"{web.address}/a.zip", tmp_path, SHA256).read_bytes() == BODY
    assert web.requests[-1]["Range"] == "bytes=5000-"


def test_a_changed_file_is_downloaded_from_the_start(web: Web, tmp_path: Path) -> None:
    web.answers = [answer(b"old" * 1000, length=9000, ETag='"1"'), answer(BODY, ETag='"2"')]
    assert fetch(f"{web.address}/a.zip", tmp_path, SHA256).read_bytes() == BODY


def test_a_download_without_etag_is_not_resumed(web: Web, tmp_path: Path) -> None:
    web.answers = [answer(BODY[:5000], length=len(BODY)), answer(BODY)]
    assert fetch(f"{web.address}/a.zip", tmp_path, SHA256).read_bytes() == BODY
    assert "Range" not in web.requests[1]


def test_a_short_download_leaves_no_file(web: Web, tmp_path: Path) -> None:
    web.answers = [answer(BODY, length=len(BODY) + 1)]
    with pytest.raises(DataError, match=r"in 4 tries .*; run the command again to resume"):
        fetch(f"{web.address}/a.zip", tmp_path, None)
    assert len(web.requests) == 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".part"}


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418])
def test_a_client_error_is_not_retried(web: Web, tmp_path: Path, status: int) -> None:
    web.answers = [answer(status=status)]
    with pytest.raises(DataError, match=f"answers with status {status} .*; open it in a browser"):
        fetch(f"{web.address}/a.zip", tmp_path, None)
    assert len(web.requests) == 1


def test_a_busy_server_is_retried_after_its_retry_after(web: Web, tmp_path: Path, waits: list[float]) -> None:
    web.answers = [answer(status=500), answer(status=429, Retry_After="7"), answer(status=503), answer(BODY)]
    assert fetch(f"{web.address}/a.zip", tmp_path, SHA256).read_bytes() == BODY
    assert waits == [0.5, 7, 2]


def test_a_stalled_server_is_abandoned(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(module, "STALL_SPAN", 0.3)
    web.answers = [answer(BODY, pause=0.05)]
    with pytest.raises(DataError, match=r"has stalled: \d+ bytes in \d+ s; run the command again later"):
        fetch(f"{web.address}/a.zip", tmp_path, None)
    assert len(web.requests) == 1


def test_an_unreachable_server_is_reported(web: Web, tmp_path: Path) -> None:
    web.close()
    with pytest.raises(DataError, match=r"could not be fetched in 4 tries \(.*refused.*\)"):
        fetch(f"{web.address}/a.zip", tmp_path, None)


def test_a_wrong_sha256_is_rejected_with_both_hashes(web: Web, tmp_path: Path) -> None:
    web.answers = [answer(BODY), answer(b"other")]
    kept = fetch(f"{web.address}/a.zip", tmp_path, SHA256)
    wrong = hashlib.sha256(b"what?").hexdigest()
    with pytest.raises(DataError, match=f"has sha256 {hashlib.sha256(b'other').hexdigest()} .* is {wrong}"):
        fetch(f"{web.address}/a.zip", tmp_path, wrong)
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_bytes() == BODY


def test_redirects_are_followed(web: Web, tmp_path: Path) -> None:
    web.answers = [answer(status=302, Location="/b.zip"), answer(BODY)]
    assert fetch(f"{web.address}/a.zip", tmp_path, SHA256).read_bytes() == BODY
    assert web.requests[1]["path"] == "/b.zip"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/a.zip", "redirects more than 5 times"),
        ("file:///etc/passwd", "which is not on the web"),
        ("ftp://example.org/a.zip", "which is not on the web"),
        ("http://169.254.169.254/latest/meta-data", "which is a private address"),
        ("http://[::1]/a.zip", "which is a private address"),
        ("http://10.0.0.1/a.zip", "which is a private address"),
    ],
)
def test_a_redirect_to_another_host_is_rejected(web: Web, tmp_path: Path, target: str, message: str) -> None:
    web.answers = [answer(status=302, Location=target)]
    with pytest.raises(DataError, match=message):
        fetch(f"{web.address}/a.zip", tmp_path, None)


def test_a_redirect_from_https_to_http_is_unsafe() -> None:
    assert module._unsafe("https://example.org/a", "http://example.org/a") == "which is not encrypted"
    assert module._unsafe("http://example.org/a", "https://example.org/a") is None


def test_passwords_come_from_netrc(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    web.answers = [answer(BODY)]
    fetch(f"{web.address}/a.zip", tmp_path, SHA256)
    assert web.requests[0]["Authorization"].startswith("Basic ")


def test_secrets_from_the_environment_are_sent_and_not_printed(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKEN", "canary")
    web.answers = [answer(BODY), answer(status=404)]
    fetch(f"{web.address}/a.zip?token=$TOKEN", tmp_path, None)
    assert web.requests[0]["path"] == "/a.zip?token=canary"
    with pytest.raises(DataError) as error:
        fetch(f"{web.address}/a.zip?token=$TOKEN", tmp_path, None)
    assert "canary" not in capsys.readouterr().err + str(error.value)
    with pytest.raises(DataError, match="environment variable NOT_SET, which is not set"):
        fetch("$NOT_SET", tmp_path, None)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://me:canary@example.org/a.zip", "user name or password"),
        ("https://canary@example.org/a.zip", "user name or password"),
        ("https://example.org/a.zip?token=canary", "holds 'token', which looks like a secret"),
        ("https://example.org/a.zip?X-Amz-Signature=canary", "looks like a secret"),
        ("$HOST/a.zip?token=canary", "must begin with http"),
        ("ftp://canary/a.zip", "must begin with http"),
        ("file:///canary", "must begin with http"),
        ("https:///canary", "must begin with http"),
        ("http://[canary/a.zip", "must begin with http"),
        ("http://canary:port/a.zip", "must begin with http"),
    ],
)
def test_secrets_in_params_are_rejected(address: str, message: str) -> None:
    problem = addresses.problem(address)
    assert problem is not None
    assert message in problem
    assert "canary" not in problem


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.zip",
        "https://example.org/a.zip?download=1",
        "https://drive.google.com/uc?id=1aB",
        "$ARCHIVE",
        "https://example.org/a.zip?token=$TOKEN",
    ],
)
def test_addresses_without_secrets_are_accepted(address: str) -> None:
    assert addresses.problem(address) is None


def test_addresses_are_shown_without_secrets() -> None:
    assert addresses.shown("https://me:canary@example.org/a.zip?token=canary#canary") == "https://example.org/a.zip"
    printed = "postgresql://me:canary@host/db?canary=1 failed: see http://host/path?canary and try again"
    assert addresses.shown(printed) == "postgresql://host/db failed: see http://host/path and try again"


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_google_drive_downloads_use_gdown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"https://drive.google.com/uc could not be fetched \(.+\); share the file"):
        fetch("https://drive.google.com/uc?id=1aB", tmp_path, None)
