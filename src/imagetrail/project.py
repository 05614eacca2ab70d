"""`mlflow run`: the same pipeline with overrides, in a copy, so that the workspace stays as it was.

In a checkout with a commit this is `dvc exp run --temp`. Without one, and in a shallow clone, the pipeline runs in
place and what was there is put back: MLflow makes a shallow clone of a git URI, and DVC loses its experiments there.
Values go through DVC's own override parser.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagetrail import artifacts
from imagetrail.errors import ImagetrailError, ParamsError
from imagetrail.params import PARAMS_FILE, Params, load_params


def main(root: Path, arguments: Sequence[str]) -> None:
    """Run the pipeline with `--name value` overrides and fill the run that MLflow opened.

    Raises:
        ParamsError: an override is unknown or wrong; nothing has run.
        ImagetrailError: DVC failed; its own message stands above.
    """
    try:
        _run(root, parse(arguments))
    except ImagetrailError as error:
        if os.environ.get("MLFLOW_RUN_ID"):
            from imagetrail.tracking.training import explain_failure

            explain_failure(root, str(error))
        raise


def _run(root: Path, overrides: Sequence[str]) -> None:
    params = check(root, overrides)
    if _git(root, "rev-parse", "--verify", "--quiet", "HEAD") is None or _is_shallow(root):
        with _in_place(root, overrides):
            _dvc(root, "repro")
            _settle(root, root, params)
        return
    name = f"mlflow-{os.environ['MLFLOW_RUN_ID'][:8]}" if "MLFLOW_RUN_ID" in os.environ else None
    _dvc(root, "exp", "run", "--temp", *(["--name", name] if name else []), *_carried(root, params),
         *(f"--set-param=++{override}" for override in overrides))  # fmt: skip
    if name:
        with _files_of(root, name) as folder:
            _settle(root, folder, params)


def _is_shallow(root: Path) -> bool:
    return (_git(root, "rev-parse", "--is-shallow-repository") or "").strip() == "true"


def parse(arguments: Sequence[str]) -> list[str]:
    """`--train.epochs 3` as `train.epochs=3`; an empty value means as in params.yaml."""
    if len(arguments) % 2 or not all(name.startswith("--") and len(name) > 2 for name in arguments[::2]):
        raise ParamsError(
            f"parameters come as --name value, not {' '.join(arguments)!r}; use mlflow run . -P name=value."
        )
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return [f"{name[2:]}={value}" for name, value in pairs if value != ""]


def check(root: Path, overrides: Sequence[str]) -> Params:
    """The effective parameters, or a ParamsError before any stage runs."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / PARAMS_FILE
        copy.write_bytes((root / PARAMS_FILE).read_bytes())
        for override in overrides:
            try:
                apply_overrides(copy, [f"++{override}"])
            except (DvcException, ValueError, TypeError) as error:
                raise ParamsError(
                    f"{override!r} is not a value that DVC can set ({error.__cause__ or error}); quote it as for "
                    "`dvc exp run --set-param`."
                ) from None
        return load_params(Path(folder))


@contextmanager
def _in_place(root: Path, overrides: Sequence[str]) -> Iterator[None]:
    """params.yaml with overrides; afterwards it and what earlier runs left are as they were, byte for byte."""
    from dvc.utils.hydra import apply_overrides

    metrics = [artifacts.METRICS / f"{stage}.json" for stage in ("train", "test")]
    names = [Path(PARAMS_FILE), Path("dvc.lock"), *metrics]
    before = {name: (root / name).read_bytes() for name in names if (root / name).is_file()}
    had_outputs = (root / artifacts.MODELS).is_dir()
    try:
        apply_overrides(root / PARAMS_FILE, [f"++{override}" for override in overrides])
        yield
    finally:
        for name, content in before.items():
            with artifacts.writing(root / name) as temporary:
                temporary.write_bytes(content)
        if had_outputs:
            _dvc(root, "checkout", "--quiet")


def _carried(root: Path, params: Params) -> list[str]:
    """Options that carry what git does not know into the copy: the local data, and new files.

    Raises:
        ImagetrailError: the local data lies outside the repository by a relative path, which the copy would miss.
    """
    data = Path(params.download.path)
    inside = (root / data).resolve().is_relative_to(root.resolve())
    if not data.is_absolute() and not inside:
        raise ImagetrailError(
            f"download.path = {params.download.path!r} leaves the repository, so a temporary copy of it would not find "
            "the data; give an absolute path, or put the data under data/source."
        )
    paths = (_git(root, "ls-files", "--others", "--exclude-standard", "-z") or "").split("\0")
    if inside and _git(root, "check-ignore", "--quiet", f"{params.download.path}/x") is not None:
        paths += [path.as_posix() for path in sorted((root / data).iterdir()) if path.name != ".gitkeep"]
    return [f"--copy-paths={path}" for path in paths if path]


@contextmanager
def _files_of(root: Path, experiment: str) -> Iterator[Path]:
    """A temporary folder with what the stages of an experiment wrote, without checking anything out."""
    from dvc.api import DVCFileSystem

    names = [artifacts.MODELS, artifacts.METRICS, artifacts.PLOTS, artifacts.TENSORS, artifacts.SPLIT]
    with tempfile.TemporaryDirectory() as folder:
        # An experiment that changes nothing leaves no ref: its files are those of the commit.
        commit = _git(root, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{experiment}") or "HEAD"
        files = DVCFileSystem(str(root), rev=commit.strip())
        for name in names:
            files.get(name.as_posix(), str(Path(folder) / name), recursive=True)
        yield Path(folder)


def _settle(root: Path, files: Path, params: Params) -> None:
    """Fill the run that `mlflow run` opened, where no stage did."""
    if os.environ.get("MLFLOW_RUN_ID"):
        from imagetrail.tracking.training import stand_for

        stand_for(root, files, params)


def _dvc(root: Path, *arguments: str) -> None:
    process = subprocess.Popen([sys.executable, "-m", "dvc", *arguments], cwd=root)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # DVC got the signal too and cleans up
        raise
    if code:
        raise ImagetrailError(f"`dvc {arguments[0]}` ended with {code}; the stage's own message stands above.")


def _git(root: Path, *arguments: str) -> str | None:
    """Git's output, or None where it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None
