"""Outputs are written whole or not at all."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import REPOSITORY, need

from imagetrail.errors import ArtifactError
from imagetrail.files import arrays, artifacts


def test_a_failed_write_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    artifacts.write_json(path, {"a": 1})

    def fail_half_way() -> None:
        with artifacts.writing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name in ("old", "new"):
        with artifacts.writing_folder(folder) as temporary:
            (temporary / name).write_text("x")
    assert [p.name for p in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_json_rejects_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_folder_is_reported_in_one_sentence(tmp_path: Path) -> None:
    """Run without root's right to write anywhere, which the tests may have."""
    need(shutil.which("setpriv"), "setpriv of util-linux")
    folder = tmp_path / "models"
    folder.mkdir()
    folder.chmod(0o555)
    script = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "src")!r})
from pathlib import Path
from imagetrail.files import artifacts
from imagetrail.errors import guard
guard(lambda: artifacts.write_json(Path({str(folder)!r}) / "a" / "model.json", 1))
"""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run([*drop, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be written (Permission denied); free or unlock its folder." in done.stderr
    assert "Traceback" not in done.stderr


@given(parts=st.lists(st.integers(0, 5), max_size=5), shape=st.sampled_from([(), (3,), (1, 2, 2)]))
def test_numpy_reads_what_npy_writer_writes(parts: list[int], shape: tuple[int, ...], tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    rows = [np.random.default_rng(n).integers(0, 255, (n, *shape), dtype=np.uint8) for n in parts]
    with arrays.NpyWriter(path, shape, np.uint8) as writer:
        for chunk in rows:
            writer.append(chunk)
    expected = np.concatenate([np.empty((0, *shape), np.uint8), *rows])
    assert np.array_equal(np.load(path), expected)
    assert np.load(path, mmap_mode="r" if expected.size else None).shape == expected.shape


@pytest.mark.parametrize(
    ("read", "stage"),
    [
        (artifacts.read_dataset, "preprocess"),
        (lambda root: list(artifacts.read_labels(root)), "download"),
        (lambda root: arrays.open_subset(root, "train"), "preprocess"),
        (lambda root: artifacts.read_metrics(root, "test"), "evaluate"),
    ],
)
def test_a_missing_artifact_names_the_stage_that_makes_it(tmp_path: Path, read, stage: str) -> None:
    with pytest.raises(ArtifactError, match=f"`dvc repro {stage}` makes it"):
        read(tmp_path)


def test_a_damaged_artifact_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data/tensors").mkdir(parents=True)
    (tmp_path / "data/tensors/dataset.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"dataset\.json cannot be read .* writes it again"):
        artifacts.read_dataset(tmp_path)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """A temporary folder of a killed stage would be logged as untracked, and copied into later runs."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".raw.{gone.pid}.tmp").mkdir()
    (tmp_path / f".raw.{gone.pid}.tmp/a.png").touch()
    (tmp_path / f".rawer.{gone.pid}.tmp").touch()
    (tmp_path / f".raw.{os.getppid()}.tmp").touch()
    with artifacts.writing_folder(tmp_path / "raw"):
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"raw", f".rawer.{gone.pid}.tmp", f".raw.{os.getppid()}.tmp"}, "of a living process, of another name"


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "rows.csv"])
def test_a_flipped_bit_in_the_tensors_is_an_error(tmp_path: Path, name: str) -> None:
    """Size and time do not change, so DVC does not see it."""
    folder = tmp_path / "data/tensors"
    folder.mkdir(parents=True)
    for file in ("images.npy", "labels.npy", "rows.csv"):
        (folder / file).write_bytes(file.encode() * 100)
    digests = {file: artifacts.file_sha256(folder / file) for file in ("images.npy", "labels.npy", "rows.csv")}
    rows = digests.pop("rows.csv")
    dataset = artifacts.Dataset("csv", ["a", "b"], {}, [1, 1, 8, 8], None, 0, {}, {}, rows, digests)
    artifacts.write_dataset(folder / "dataset.json", dataset)
    artifacts.check_tensors(tmp_path, "images.npy", "labels.npy", "rows.csv")
    content = bytearray((folder / name).read_bytes())
    content[50] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} is not the file that dataset.json describes; `dvc repro --force"):
        artifacts.check_tensors(tmp_path, "images.npy", "labels.npy", "rows.csv")


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def make_dataset(root: Path) -> None:
    """Five images and train rows."""
    for folder in (artifacts.TENSORS, artifacts.SPLIT):
        (root / folder).mkdir(parents=True)
    np.save(root / "data/tensors/images.npy", np.zeros((5, 1, 2, 2), np.uint8))
    np.save(root / "data/tensors/labels.npy", np.zeros(5, np.int64))
    np.save(root / "data/split/train.npy", np.array([0, 2, 4]))
    dataset = artifacts.Dataset("csv", ["a", "b"], {}, [5, 1, 2, 2], None, 0, {}, {}, "x", {})
    artifacts.write_dataset(root / "data/tensors/dataset.json", dataset)


INDICES = [3, 1], [0, 5], [-1, 0], [1, 1]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"PK\3\4",
        *(npy_bytes(np.array(rows)) for rows in INDICES),
        npy_bytes(np.array([[0]])),
        npy_bytes(np.array([0.5])),
        npy_bytes(np.arange(9))[:-8],
    ],
)
def test_a_file_that_is_not_a_list_of_rows_names_its_stage(tmp_path: Path, damage: bytes) -> None:
    make_dataset(tmp_path)
    arrays.open_subset(tmp_path, "train")
    (tmp_path / "data/split/train.npy").write_bytes(damage)
    with pytest.raises(ArtifactError, match=r"train\.npy cannot be read .*`dvc repro --force split` writes it again"):
        arrays.open_subset(tmp_path, "train")


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_tensors_of_another_shape_are_rejected(tmp_path: Path, name: str) -> None:
    make_dataset(tmp_path)
    np.save(tmp_path / "data/tensors" / name, np.zeros((4, 1, 2, 2), np.uint8))
    with pytest.raises(ArtifactError, match=f"{name} cannot be read .it holds uint8"):
        arrays.open_subset(tmp_path, "train")
