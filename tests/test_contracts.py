"""What DESIGN's layout promises: dependencies, parameters, the direction of imports, and what starts fast."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML
from support import REPOSITORY

from bench import rerun

STAGES = ("download", "preprocess", "split", "train", "evaluate")
PIPELINE = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]
SOURCE = REPOSITORY / "src"
PACKAGE = SOURCE / "imagetrail"

CHECKS = {
    *(PACKAGE / name for name in ("errors.py", "console.py")),
    *(
        PACKAGE / "params" / name
        for name in ("libraries.py", "load.py", "messages.py", "portable.py", "section.py", "signatures.py")
    ),
    PACKAGE / "params" / "machine.py",
}
"""With tracking/: package files that can refuse a run, or say what it does, but cannot change an output's bytes.

load.py reads every section, since each stage checks the whole of params.yaml; what a stage uses of a section comes with
its rooms' own imports. A single value of another section is YAML's, whatever the section's file says.
"""
LAYERS = (
    {"errors", "console", "programs", "addresses"},
    {"files", "parquet_file"},
    {"git", "drawing", "params", "pages"},
    {"download", "preprocess", "split", "model"},
    {"train", "evaluate"},
    {"predict", "compare"},
    {"tracking"},
    {"sweeps", "reproduce", "server", "serving", "export", "init"},
    {"doors"},
)
"""Rooms from the lowest to the highest; a room imports lower ones, and itself, but none beside it."""
BESIDE = {("errors", "console"), ("console", "errors"), ("programs", "errors"), ("addresses", "errors"),
          ("parquet_file", "errors")}  # fmt: skip
"""Low files that may import each other."""
DEPS_LIMIT = 30
"""Lines of code dependencies in dvc.yaml."""
COMMON_LIMIT = 6
"""Files of which an edit makes all five stages rerun."""


def imported_files(path: Path) -> set[Path]:
    """The package's files that a file imports, at its top or in a function."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] != "imagetrail":
                continue
            for end in range(1, len(parts) + 1):
                module = SOURCE.joinpath(*parts[:end])
                found |= {f for f in (module / "__init__.py", module.with_suffix(".py")) if f.is_file()}
    return found


def closure(start: Path) -> set[Path]:
    seen, waiting = {start}, [start]
    while waiting:
        for file in imported_files(waiting.pop()) - seen:
            seen.add(file)
            if PACKAGE / "tracking" not in file.parents and file not in CHECKS:
                waiting.append(file)
    return seen


def docstring_alone(path: Path) -> bool:
    body = ast.parse(path.read_text()).body
    return len(body) == 1 and isinstance(body[0], ast.Expr)


def files(path: Path) -> set[Path]:
    return set(path.rglob("*.py")) if path.is_dir() else {path}


def code_deps(stage: str) -> dict[str, set[Path]]:
    """The files of each code dependency of a stage."""
    return {d: files(REPOSITORY / d) for d in PIPELINE[stage]["deps"] if d.startswith(("src/", "stages/"))}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_every_file_that_a_stage_imports(stage: str) -> None:
    needed = {
        file
        for file in closure(REPOSITORY / "stages" / f"{stage}.py")
        if file not in CHECKS and PACKAGE / "tracking" not in file.parents and not docstring_alone(file)
    }
    listed = code_deps(stage)
    assert needed - set().union(*listed.values()) == set()
    assert {dep for dep, inside in listed.items() if not inside & needed} == set(), "a dependency without a reason"


def test_an_edit_reruns_few_stages() -> None:
    assert sum(len(code_deps(stage)) for stage in STAGES) <= DEPS_LIMIT
    common = set.intersection(*(set().union(*code_deps(stage).values()) for stage in STAGES))
    assert 0 < len(common) <= COMMON_LIMIT, common


def test_the_table_of_reruns_is_up_to_date() -> None:
    assert rerun.PAGE.read_text() == rerun.page(), "run python -m bench.rerun"


def test_checkpoints_and_train_depend_on_the_same_code() -> None:
    from imagetrail.train.checkpoints import DECISIVE

    listed = {dep.removeprefix("src/imagetrail/") for dep in code_deps("train") if dep.startswith("src/")}
    assert set(DECISIVE) == listed


def test_a_logged_model_carries_the_code_that_answers() -> None:
    """And pins every library that this code imports."""
    from imagetrail.tracking import logged_model

    listed = [files(PACKAGE / name) for name in logged_model.CARRIED]
    needed = closure(PACKAGE / "tracking/image_model.py") | {PACKAGE / "tracking/__init__.py"}
    assert needed - set().union(*listed) == set()
    assert [carried for carried in listed if not carried & needed] == []
    owners = packages_distributions()
    modules = {name for path in needed for name in imported_modules(path)} - sys.stdlib_module_names - {"imagetrail"}
    pinned = {"timm", *logged_model.REQUIRED}  # timm for the models that need it
    owned = {name: set(map(canonicalize_name, owners[name])) for name in modules if name in owners}
    assert [name for name, packages in owned.items() if not packages & pinned] == [], "logged_model.REQUIRED"


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def test_no_stage_depends_on_a_part_of_an_output() -> None:
    """DVC 3.67 cannot load such a part in a fresh clone after a hit in its run cache."""
    outputs = [
        Path(next(iter(out)) if isinstance(out, dict) else out)
        for stage in PIPELINE.values()
        for out in [*stage.get("outs", ()), *stage.get("metrics", ())]
    ]
    for stage in PIPELINE.values():
        for dep in map(Path, stage["deps"]):
            assert not any(output in dep.parents for output in outputs), dep


def reads(stage: str) -> set[str]:
    """The parameters that a stage's script reads: `params.preprocess.size` as preprocess.size."""
    tree = ast.parse((REPOSITORY / "stages" / f"{stage}.py").read_text())
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            dotted = ast.unparse(node).replace("load_params(Path())", "params")
            if dotted.startswith("params."):
                found.add(dotted.removeprefix("params."))
    return {name for name in found if name.partition(".")[0] != "machine"}


@pytest.mark.parametrize("stage", STAGES)
def test_params_list_what_the_stage_reads(stage: str) -> None:
    listed, read = set(PIPELINE[stage]["params"]), reads(stage)
    assert read, "the test must find something to compare"
    assert {name for name in read if not any((name + ".").startswith(item + ".") for item in listed)} == set()
    assert {item for item in listed if not any((name + ".").startswith(item + ".") for name in read)} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_only_tracking_reads_all_parameters(stage: str) -> None:
    tree = ast.parse((REPOSITORY / "stages" / f"{stage}.py").read_text())
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if any(isinstance(argument, ast.Name) and argument.id == "params" for argument in call.args):
            assert ast.unparse(call.func) in ("training_run", "log_evaluation")


def test_only_tracking_imports_mlflow() -> None:
    for path in [*PACKAGE.rglob("*.py"), *(REPOSITORY / "stages").glob("*.py")]:
        if PACKAGE / "tracking" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "mlflow" for name in names), path


def test_neither_package_nor_stages_import_stages() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) stages\b", path.read_text(), re.M), path
    for stage in STAGES:
        assert not re.search(r"^\s*(from|import) stages\b", (REPOSITORY / f"stages/{stage}.py").read_text(), re.M)


def test_rooms_import_lower_rooms_only() -> None:
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms == level.keys()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for file in imported_files(path) if name != "__init__" else ():
            other = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
            allowed = other in ("__init__", name) or level[other] < level[name] or (name, other) in BESIDE
            assert allowed, f"{path.relative_to(PACKAGE)} imports {other}"


def test_each_room_documents_its_contents_and_imports() -> None:
    for folder in (path.parent for path in PACKAGE.glob("*/__init__.py")):
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        assert "May import: " in text, folder.name
        permitted = {name.strip(" .") for name in text.partition("May import: ")[2].replace("\n", " ").split(",")}
        imported = {
            file.relative_to(PACKAGE).parts[0].removesuffix(".py")
            for path in folder.rglob("*.py")
            for file in imported_files(path)
        } - {"__init__", folder.name}
        assert imported <= permitted or permitted == {"everything"}, f"{folder.name} imports {imported - permitted}"


@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_thin(stage: str) -> None:
    tree = ast.parse((REPOSITORY / f"stages/{stage}.py").read_text())
    assert sum(len(ast.unparse(node).splitlines()) for node in tree.body[1:]) <= 25


def test_one_name_is_one_thing() -> None:
    """Classes and constants of two modules do not share a name, nor do two modules."""
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            found.setdefault(path.stem, []).append(str(path))
        for node in ast.parse(path.read_text()).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            names = [t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)]
            for name in [*names, *([node.name] if isinstance(node, ast.ClassDef) else [])]:
                if name[0].isupper() and name != "T":
                    found.setdefault(name, []).append(str(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_no_module_is_called_utils_or_common() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


def run_python(code: str, cwd: Path) -> str:
    prelude = f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}, {str(SOURCE)!r}]\n"
    done = subprocess.run([sys.executable, "-c", prelude + code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("from stages import download", "torch mlflow matplotlib sklearn pandas pyarrow requests"),
        ("from stages import download; download.main()", "torch mlflow matplotlib"),
        (
            "from stages import download, preprocess, split; download.main(); preprocess.main(); split.main()",
            "torch mlflow",
        ),
        ("import imagetrail.doors.repro", "torch mlflow numpy pydantic dvc"),
        ("import imagetrail.doors.cli", "torch mlflow sklearn"),
        (
            "from imagetrail.params.load import load_params; from pathlib import Path; load_params(Path())",
            "torch numpy",
        ),
    ],
    ids=["own images", "digits", "split", "make repro", "imagetrail", "params"],
)
def test_fast_commands_import_no_heavy_library(root: Path, code: str, heavy: str) -> None:
    loaded = run_python(f"{code}\nprint(*sys.modules)", root).split()
    assert not set(heavy.split()) & set(loaded)


def test_importing_a_module_has_no_effect(tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
    ]
    code = f"""
import importlib, logging, os, signal, torch
environment = dict(os.environ)
before = (torch.get_num_threads(), torch.initial_seed(), logging.root.handlers[:], signal.getsignal(signal.SIGTERM))
for name in {modules!r}:
    importlib.import_module(name)
after = (torch.get_num_threads(), torch.initial_seed(), logging.root.handlers[:], signal.getsignal(signal.SIGTERM))
assert before == after
assert {{k for k in os.environ if k.startswith(("MLFLOW", "DVC", "CUBLAS"))}} <= environment.keys()
"""
    run_python(code, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_has_exact_versions_and_hashes_and_no_registry() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    requirements = re.findall(r"^([A-Za-z0-9][^\s]*)(.*)$", lock, re.M)
    assert len(requirements) > 100
    assert all("==" in name for name, _ in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)
    assert "://" not in lock
    assert "index-url" not in lock
    assert {"torch==2.15.0", "torchvision==0.29.2"} <= {name for name, _ in requirements}


def test_no_file_contains_a_machines_absolute_path() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in tracked.stdout.splitlines():
        path = REPOSITORY / name
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".json", ".lock", ".ipynb", "") and path.is_file():
            text = path.read_text(errors="ignore")
            assert not re.search(r"/(root|home|work|Users)/\w", text), name


def test_a_new_parameter_is_a_decision() -> None:
    """A new one needs a record in docs/decisions, and a line here."""
    from imagetrail.params.section import leaves

    tree = YAML(typ="safe").load((REPOSITORY / "params.yaml").read_text())
    names = {section: [name for name, _ in leaves(values)] for section, values in tree.items()}
    assert names == {
        "download": [
            "source", "path", "archive", "sha256", "table", "header", "delimiter", "images", "image_column",
            "extension", "label_column", "split_column", "group_column", "columns", "pattern", "classes", "fold_labels",
            "weights",
        ],
        "preprocess": [
            "image_size", "divisor", "short_side", "channels", "range", "max_rejected", "on_conflict",
            "limits.duplicate",
            "limits.near_duplicate", "limits.blank", "limits.tiny", "limits.odd_shape", "limits.misnamed",
            "limits.animated",
            "limits.damaged",
        ],
        "split": ["by", "test", "val", "seed", "on_leak", "on_rare", "group_near_duplicates"],
        "model": ["name", "weights", "input_size", "views", "widths", "dropout"],
        "train": [
            "seed", "epochs", "batch_size", "shards", "optimizer.name", "optimizer.lr", "optimizer.weight_decay",
            "schedule.name", "warmup_epochs", "loss.name", "class_weights", "clip_grad_norm", "averaging", "augment",
            "normalisation", "keep", "patience", "calibration", "max_params", "arithmetic", "precision", "device",
            "threads",
        ],
        "evaluate": [
            "batch_size", "device", "threads", "calibration_bins", "mistakes", "intended_use", "licence", "gate",
            "registry",
        ],
        "export": ["agreement"],
        "machine": ["jobs", "backend", "scheduler", "processes"],
    }  # fmt: skip


def test_a_new_command_is_a_decision() -> None:
    import argparse

    from imagetrail.doors.cli import parser

    def options(of: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, list[str]]]:
        below = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
        if not below:
            yield name, [(action.option_strings or [action.dest])[-1] for action in of._actions[1:]]
        for command, inner in below[0].choices.items() if below else ():
            yield from options(inner, f"{name} {command}".strip())

    assert dict(options(parser(), "")) == {
        "init": ["path", "--dry-run", "--minutes", "--try"],
        "predict": ["images", "--run", "--column", "--coverage", "--json", "--output"],
        "serve": ["run", "--host", "--port", "--allowed-hosts"],
        "export": ["run", "--to"],
        "recipe list": [],
        "recipe show": ["name"],
        "recipe apply": ["name"],
        "sweep": [
            "space",
            "--trials",
            "--workers",
            "--folds",
            "--seeds",
            "--set-param",
            "--storage",
            "--join",
            "--apply",
        ],
        "compare": ["runs", "--json", "--page"],
        "reproduce": ["run"],
        "server": ["--host", "--port", "--allowed-hosts"],
        "move-store": ["database"],
    }


def test_make_does_not_change_an_environment_behind_a_link(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".venv").symlink_to("elsewhere")
    done = subprocess.run(["make", "setup"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert ".venv is a link to another environment" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
