"""Private and undocumented names of other libraries: each is used in one place, with a test here.

A failure names what moved and the place that relies on it. Where a public way appears, take it and remove the test.
"""

import inspect
import io
import re
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support import REPOSITORY

from imagetrail.tracking import outcome, store
from imagetrail.tracking.run import GENERATED_NAME

PACKAGE = REPOSITORY / "src/imagetrail"
quiet = pytest.mark.filterwarnings("ignore")  # MLflow warns of its own insides

PRIVATE = {
    "SqlAlchemyStore": "tracking/store.py",
    "resolve_tags": "tracking/run.py",
    "SystemMetricsMonitor": "tracking/run.py",
    "CodeDatasetSource": "tracking/calls.py",
    "MetaDataset": "tracking/calls.py",
    "dvc.utils.hydra": "params/overrides.py",
    "dvc.cli": "doors/repro.py",
    "refs/exps": "doors/mlflow_run.py",
    "DVC_ROOT": "files/artifacts.py",
    "DVC_EXP_NAME": "tracking/stages.py",
    "FlopCounterMode": "model/costs.py",
    "NPY_DISABLE_CPU_FEATURES": "model/arithmetic.py",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "train/launch.py",
    "torch.distributed.run": "train/launch.py",
    "use_correct_lambda": "train/augment.py",
    "_image_files": "download/torchvision_photographs.py",
    '"resources"': "download/torchvision_arrays.py",
    '"MPO"': "preprocess/decode.py",
    "orig_filename": "download/unpack.py",
    "_proc_member": "download/unpack.py",
}
"""Each name, and the one file that uses it."""


@pytest.mark.parametrize("name", PRIVATE)
def test_private_names_are_used_in_one_place(name: str) -> None:
    files = [p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if name in p.read_text()]
    files = [file for file in files if file != "params/signatures.py"]  # which lists arguments that we give
    assert files == [PRIVATE[name]], f"{name} must be used in {PRIVATE[name]} only"


# --- MLflow -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as MLflow creates it."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store.configure()
    store.create_tables(f"sqlite:///{path}", str(path.parent / "mlruns"))
    return path


@quiet
def test_sql_on_mlflows_tables_finds_its_columns(database: Path) -> None:
    connection = sqlite3.connect(database)
    columns = {
        table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    connection.close()
    assert {"run_uuid", "key", "value"} <= columns["tags"], "doors/repro.py asks the table of tags for a model's run"
    assert {"run_uuid", "lifecycle_stage", "artifact_uri"} <= columns["runs"], "doors/repro.py, tracking/move.py"
    assert {"name", "artifact_location"} <= columns["experiments"], "tracking/move.py checks where artifacts are"
    assert "artifact_location" in columns["logged_models"], "tracking/move.py translates places"
    assert "version_num" in columns["alembic_version"], "tracking/move.py compares the schemas of two stores"


@quiet
def test_generated_run_names_are_recognised(database: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{database}")
    for _ in range(5):
        name = client.create_run("0").info.run_name
        assert GENERATED_NAME.fullmatch(name), f"tracking/run.py renames runs that nobody named, and {name!r} looks new"


def test_mlflow_still_has_the_internals_that_we_adapt() -> None:
    from mlflow.store.db import utils

    assert isinstance(utils.MAX_RETRY_COUNT, int)
    assert "_make_parent_dirs_if_sqlite(db_uri)" in inspect.getsource(utils.create_sqlalchemy_engine_with_retry)
    assert "MAX_RETRY_COUNT" in inspect.getsource(utils.create_sqlalchemy_engine_with_retry)


def test_dvc_still_writes_the_settings_of_a_copy_in_ascii() -> None:
    """If not, `mlflow run` can use a copy below any path; see mlflow_run._can_copy."""
    from configobj import ConfigObj

    with pytest.raises(UnicodeEncodeError):
        ConfigObj({"cache": {"dir": "josé"}}).write(io.BytesIO())


def test_mlflow_still_has_the_settings_we_use() -> None:
    from mlflow import environment_variables

    for name in store.SETTINGS:
        assert hasattr(environment_variables, name) or name == "MLFLOW_LOGGING_LEVEL", (
            f"tracking/store.py sets {name}, which MLflow no longer reads"
        )


@quiet
def test_system_metrics_monitor_accepts_our_arguments() -> None:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    taken = inspect.signature(SystemMetricsMonitor).parameters.keys()
    assert {"run_id", "sampling_interval", "resume_logging", "tracking_uri"} <= taken, "tracking/run.py: watch()"
    assert hasattr(SystemMetricsMonitor, "finish"), "tracking/run.py ends it with the run"


@quiet
def test_dataset_dictionary_has_what_a_run_logs() -> None:
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.types import Schema, TensorSpec

    schema = Schema([TensorSpec(np.dtype("uint8"), (-1, 1, 8, 8))])
    fields = MetaDataset(CodeDatasetSource({"source": "digits"}), "digits", "12345678", schema).to_dict()
    assert {"name", "digest", "source_type", "source", "schema"} <= fields.keys(), "tracking/calls.py: LogDataset"


def test_make_repro_prints_valid_ui_addresses() -> None:
    import mlflow

    bundle = Path(mlflow.__file__).parent / "server/js/build/static/js"
    text = "".join(path.read_text(errors="ignore") for path in bundle.glob("main.*.js"))
    for part in ("workflowType", "viewStateShareKey", "mlflow.sharedViewState.", "selectedColumns", "columnOrder"):
        assert part in text, f"tracking/shared_view.py needs it, and outcome.py prints {outcome.RUNS_PAGE}"


# --- DVC --------------------------------------------------------------------------------------------------------------


def test_dvc_has_the_names_that_the_doors_use() -> None:
    from dvc import env
    from dvc.cli import main
    from dvc.repo.experiments.refs import EXPS_NAMESPACE
    from dvc.utils.hydra import apply_overrides, to_hydra_overrides

    assert next(iter(inspect.signature(main).parameters)) == "argv", "doors/repro.py runs DVC in its own process"
    assert list(inspect.signature(apply_overrides).parameters) == ["path", "overrides"], "params/overrides.py"
    assert len(to_hydra_overrides(["++a=1"])) == 1, "params/overrides.py asks whether DVC can parse a value"
    assert EXPS_NAMESPACE == "refs/exps", "doors/mlflow_run.py finds the commit of an experiment by its ref"
    assert env.DVC_ROOT == "DVC_ROOT", "files/artifacts.py: workspace() finds the repository of a queued experiment"
    assert env.DVC_EXP_NAME == "DVC_EXP_NAME", "tracking/stages.py tags a run with its experiment"


def test_dvc_fills_the_slots_of_our_plots_page() -> None:
    from dvc.render.match import PlotsData
    from dvc_render import html

    template = (REPOSITORY / ".dvc/plots.html").read_text()
    slots = {getattr(html, name) for name in vars(html) if name.isupper() and isinstance(getattr(html, name), str)}
    ours = set(re.findall(r"{(\w+)}", template)) & {"plot_divs", "scripts", "refresh_tag"}
    assert "plot_divs" in ours and PlotsData is not None
    assert ours <= set(re.findall(r"\w+", " ".join(slots))) | {"refresh_tag"}, ".dvc/plots.html"


# --- torch, torchvision, kornia ---------------------------------------------------------------------------------------


def test_flops_are_counted_twice_per_multiply_add() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        torch.zeros(3, 4) @ torch.zeros(4, 5)
    assert counter.get_total_flops() == 2 * 3 * 4 * 5, "model/costs.py halves what torch counts"


def test_torchvisions_weights_have_a_mean() -> None:
    from torchvision import models

    transforms = models.get_model_weights("resnet18").DEFAULT.transforms()
    assert (list(transforms.mean), list(transforms.std)) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), (
        "model/networks/backbone.py takes the normalisation from there"
    )


def test_torchvisions_data_sets_keep_their_file_names() -> None:
    from torchvision import datasets

    from imagetrail.download.torchvision_photographs import SPLIT_NAMES

    for name in SPLIT_NAMES:
        source = inspect.getsource(getattr(datasets, name))
        assert re.search(r"self\.(_images|_image_files)\b", source), f"download/torchvision_photographs.py: {name}"
        assert re.search(r"self\._labels\b", source), f"download/torchvision_photographs.py: {name}"
    assert all(len(entry) == 2 for entry in datasets.MNIST.resources), "download/torchvision_arrays.py"


@pytest.mark.parametrize(("name", "is_cut"), [("RandomMixUpV2", False), ("RandomCutMixV2", True)])
def test_kornia_returns_label_other_label_and_share(name: str, is_cut: bool) -> None:
    import kornia.augmentation

    extra = {"use_correct_lambda": True} if is_cut else {}
    mix = getattr(kornia.augmentation, name)(p=1.0, data_keys=["input", "class"], **extra)
    torch.manual_seed(0)
    images = torch.stack([torch.full((1, 16, 16), float(label)) for label in range(4)])
    mixed, pairs = mix(images, torch.arange(4))
    own, other, share = pairs.reshape(-1, 3).unbind(1)
    weight = share if is_cut else 1 - share  # of the image's own label; see train/augment.py
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), weight * own + (1 - weight) * other, atol=0.02), "train/augment.py"


# --- Pillow, the standard library, pytest -----------------------------------------------------------------------------


def test_pillow_calls_a_jpeg_with_a_second_image_mpo() -> None:
    from PIL import MpoImagePlugin

    assert MpoImagePlugin.MpoImageFile.format == "MPO", "preprocess/decode.py treats it as a JPEG"


def test_zipfile_keeps_the_stored_name() -> None:
    info = zipfile.ZipInfo("a\0b")
    assert (info.orig_filename, info.filename) == ("a\0b", "a"), "download/unpack.py checks the name as it was written"


def test_tarfile_reads_members_through_a_hook() -> None:
    assert callable(tarfile.TarInfo._proc_member), "download/unpack.py refuses headers that would fill the memory"


def test_xdist_keeps_a_group_on_one_worker(tmp_path: Path) -> None:
    """pytest 9.2 broke this silently, and each worker built the fixtures of a module again."""
    (tmp_path / "test_group.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.xdist_group('together')\n"
        "@pytest.mark.parametrize('number', range(6))\n"
        "def test_a(number): open(os.environ['PYTEST_XDIST_WORKER'], 'a').close()\n"
    )
    command = [sys.executable, "-m", "pytest", "--quiet", "--numprocesses", "2", "--dist", "loadgroup"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(list(tmp_path.glob("gw*"))) == 1, "tests/conftest.py: module fixtures are built once in a group"


def test_numpys_kernels_for_newer_processors_are_all_switched_off() -> None:
    from imagetrail.model.arithmetic import ENVIRONMENT

    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    newer = {*extensions.get("found", ()), *extensions.get("not found", ())}
    assert newer == set(ENVIRONMENT["NPY_DISABLE_CPU_FEATURES"].split())


def test_torchrun_has_what_the_launch_needs() -> None:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous

    given = run.parse_args(["--nproc-per-node=2", "--max-restarts=3", "--standalone", "--module", "stages.train"])
    assert (given.nproc_per_node, given.max_restarts, given.standalone) == ("2", 3, True)
    assert SignalException and ChildFailedError.get_first_failure
    source = inspect.getsource(dynamic_rendezvous)
    assert 'os.getenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "0") == "1"' in source
