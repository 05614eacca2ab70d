"""Entries of the outbox on disks that fail, and what counts as a refusal of the store."""

import errno
import os
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from imagetrail.errors import ArtifactError
from imagetrail.tracking import outbox
from imagetrail.tracking.calls import LogFiles, LogText, SetTags
from imagetrail.tracking.outbox import Entry, Header

HEADER = Header("store", "1" * 32, None, "name", {}, 0, ends=True)
CALLS = [SetTags(tags={"number": str(number)}) for number in range(3)]


class FullOnce:
    """fsync on a disk that is full at one of the calls."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        if self.count == self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_disk_that_is_full_for_a_moment_loses_one_call(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry.create(tmp_path, HEADER)
    monkeypatch.setattr(os, "fsync", FullOnce(at))
    lost = 0
    for call in CALLS:
        try:
            entry.add(call)
        except OSError:
            lost += 1
    assert lost == 1
    kept = [call.tags["number"] for call in entry._calls()]
    assert kept == [str(number) for number in range(3) if number != at - 1]


def test_files_of_a_call_that_could_not_be_saved_do_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "note.txt").write_text("x")
    entry, call = Entry.create(tmp_path, HEADER), LogFiles(folder="", files=(tmp_path / "note.txt",))
    monkeypatch.setattr(os, "fsync", FullOnce(1))
    with pytest.raises(OSError, match="No space left"):
        entry.add(call)
    entry.add(call)
    (kept,) = entry._calls()
    assert [path.read_text() for path in kept.files] == ["x"]


def test_a_line_that_a_kill_left_half_written_is_replaced(tmp_path: Path) -> None:
    entry = Entry.create(tmp_path, HEADER)
    entry.add(CALLS[0])
    with (entry.folder / "calls.jsonl").open("a") as file:
        file.write('{"call": {"kind": "ta')
    entry.add(CALLS[1])
    assert list(entry._calls()) == CALLS[:2]


def test_an_entry_that_cannot_be_created_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ArtifactError):
        Entry.create(tmp_path, HEADER)
    assert list((tmp_path / outbox.OUTBOX).iterdir()) == []


@pytest.mark.parametrize(
    ("code", "message", "refused"),
    [
        ("BAD_REQUEST", "(sqlite3.DatabaseError) file is not a database", False),
        ("BAD_REQUEST", "(sqlite3.OperationalError) attempt to write a readonly database", False),
        ("BAD_REQUEST", "(psycopg.errors.StringDataRightTruncation) value too long", True),
        ("BAD_REQUEST", "(psycopg2.DataError) value too long", True),
        ("TEMPORARILY_UNAVAILABLE", "database is locked", False),
        ("INTERNAL_ERROR", "KeyError", False),
        ("INVALID_PARAMETER_VALUE", "Invalid metric name", True),
        ("RESOURCE_DOES_NOT_EXIST", "no such run", True),
    ],
)
def test_only_what_the_store_judged_wrong_is_dropped(code: str, message: str, refused: bool) -> None:
    class Store:
        def log_text(self, *_: object) -> None:
            raise MlflowException(message, databricks_pb2.ErrorCode.Value(code))

    call = LogText(path="a.txt", text="x")
    if refused:
        outbox.perform(Store(), "1" * 32, call)
    else:
        with pytest.raises(MlflowException):
            outbox.perform(Store(), "1" * 32, call)
