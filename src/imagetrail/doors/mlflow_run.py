"""`mlflow run`: the same pipeline with overrides, in a copy, so that the workspace does not change.

In a checkout with a commit this is `dvc exp run --temp`. Where DVC cannot do that, the pipeline runs in place and the
earlier files are restored.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagetrail import git, programs
from imagetrail.doors import repair
from imagetrail.errors import ImagetrailError
from imagetrail.files import artifacts
from imagetrail.params import overrides
from imagetrail.params.load import PARAMS_FILE, Params
from imagetrail.tracking.outcome import reached, runs


def main(root: Path, arguments: Sequence[str]) -> None:
    """Run the pipeline with `--name value` overrides and fill the run that MLflow opened.

    Raises:
        ParamsError: an override is unknown or wrong; nothing has run.
        ImagetrailError: DVC failed; see its own message above.
    """
    try:
        _run(root, overrides.of_arguments(root, overrides.pairs(arguments)))
    except ImagetrailError as error:
        if os.environ.get("MLFLOW_RUN_ID"):
            from imagetrail.tracking.stages import explain_failure

            explain_failure(root, str(error))
        raise


def _run(root: Path, changes: Sequence[str]) -> None:
    params = overrides.check(root, changes)
    repair.before_dvc(root)
    if not _can_copy(root):
        with _in_place(root, changes):
            programs.run(root, "dvc", "repro")
            _settle(root, root, params)
            _report(root)
        return
    name = f"mlflow-{os.environ['MLFLOW_RUN_ID'][:8]}" if "MLFLOW_RUN_ID" in os.environ else None
    programs.run(root, "dvc", "exp", "run", "--temp", *(["--name", name] if name else []), *_carried(root, params),
         *(f"--set-param={change}" for change in changes))  # fmt: skip
    if name:
        with _files_of(root, name) as folder:
            _settle(root, folder, params)
            _report(folder)


def _can_copy(root: Path) -> bool:
    """Return whether DVC can run the pipeline in a temporary copy of the checkout.

    It needs a commit; it loses its experiments in a shallow clone, as MLflow makes of a git URI; and it writes the
    path of its cache into the copy's settings in ASCII.
    """
    has_commit = git.answer(root, "rev-parse", "--verify", "--quiet", "HEAD") is not None
    is_shallow = (git.answer(root, "rev-parse", "--is-shallow-repository") or "").strip() == "true"
    return has_commit and not is_shallow and str(root.resolve()).isascii()


@contextmanager
def _in_place(root: Path, changes: Sequence[str]) -> Iterator[None]:
    """Override params.yaml for the block; afterwards restore it and the outputs of earlier runs, byte for byte.

    New files and folders of the block are removed, since the restored dvc.lock does not describe them.
    """
    metrics = [artifacts.METRICS / f"{stage}.json" for stage in ("train", "test")]
    names = [Path(PARAMS_FILE), Path("dvc.lock"), *metrics]
    before = {name: (root / name).read_bytes() for name in names if (root / name).is_file()}
    new = [folder for folder in artifacts.OUTPUTS if not (root / folder).is_dir()]
    try:
        overrides.apply(root, changes)
        yield
    finally:
        for name in names:
            if name in before:
                with artifacts.writing(root / name) as temporary:
                    temporary.write_bytes(before[name])
            else:
                (root / name).unlink(missing_ok=True)
        if len(new) < len(artifacts.OUTPUTS):
            programs.run(root, "dvc", "checkout", "--allow-missing", quiet=True)
        for folder in new:
            shutil.rmtree(root / folder, ignore_errors=True)


def _carried(root: Path, params: Params) -> list[str]:
    """Return options that copy what git does not track: local data, local weights, and new files.

    Raises:
        ImagetrailError: one of them is outside the repository by a relative path, where the copy would not find it.
    """
    paths = (git.answer(root, "ls-files", "--others", "--exclude-standard", "-z") or "").split("\0")
    places = {"download.path": params.download.path}
    if params.model.weights is not None:
        places["download.weights"] = params.download.weights
    for name, place in places.items():
        folder = Path(place)
        inside = (root / folder).resolve().is_relative_to(root.resolve())
        if not folder.is_absolute() and not inside:
            raise ImagetrailError(
                f"{name} = {place!r} leaves the repository, so a temporary copy of it would not find the files; give "
                "an absolute path, or put them into the repository."
            )
        if inside and git.ignores(root, place):
            paths += [path.as_posix() for path in sorted((root / folder).iterdir()) if path.name != ".gitkeep"]
    return [f"--copy-paths={path}" for path in paths if path]


@contextmanager
def _files_of(root: Path, experiment: str) -> Iterator[Path]:
    """Extract the outputs of an experiment into a temporary folder, without checking anything out."""
    from dvc.api import DVCFileSystem

    names = [artifacts.MODELS, artifacts.METRICS, artifacts.PLOTS, artifacts.TENSORS, artifacts.SPLIT]
    with tempfile.TemporaryDirectory() as folder:
        # An experiment that changes nothing leaves no ref: its files are those of the commit.
        commit = git.answer(root, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{experiment}") or "HEAD"
        prefix = git.prefix(root)  # of a commit, DVC shows the whole repository
        files = DVCFileSystem(str(root), rev=commit.strip(), subrepos=bool(prefix))
        for name in names:
            files.get(prefix + name.as_posix(), str(Path(folder) / name), recursive=True)
        yield Path(folder)


def _report(files: Path) -> None:
    card, test = artifacts.read_card(files), artifacts.read_metrics(files, "test")
    print(f"\n{reached(card['name'], test)}\n  MLflow     {runs()}")


def _settle(root: Path, files: Path, params: Params) -> None:
    """Fill the run that `mlflow run` opened, if no stage did."""
    if os.environ.get("MLFLOW_RUN_ID"):
        from imagetrail.tracking.stages import fill_cached_run

        fill_cached_run(root, files, params)
