"""`mlflow run`: the same pipeline with overrides, in a copy, so that the workspace stays as it was.

In a checkout with a commit this is `dvc exp run --temp`. Without one, and in a shallow clone, the pipeline runs in
place and what was there is put back: MLflow makes a shallow clone of a git URI, and DVC loses its experiments there.
Values go through DVC's own override parser.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagetrail import artifacts, recipes
from imagetrail.errors import ImagetrailError, ParamsError
from imagetrail.params import PARAMS_FILE, Params, load_params

RECIPE = "recipe"
"""`-P recipe=NAME` stands beside the parameters: the run starts from that recipe instead of from params.yaml."""


def main(root: Path, arguments: Sequence[str]) -> None:
    """Run the pipeline with `--name value` overrides and fill the run that MLflow opened.

    Raises:
        ParamsError: an override is unknown or wrong; nothing has run.
        ImagetrailError: DVC failed; its own message stands above.
    """
    try:
        _run(root, overrides(root, arguments))
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
         *(f"--set-param={override}" for override in overrides))  # fmt: skip
    if name:
        with _files_of(root, name) as folder:
            _settle(root, folder, params)


def _is_shallow(root: Path) -> bool:
    return (_git(root, "rev-parse", "--is-shallow-repository") or "").strip() == "true"


def overrides(root: Path, arguments: Sequence[str]) -> list[str]:
    """What DVC is to set: the recipe that is named, leaf by leaf, and the other arguments on top.

    Args:
        root: the checkout, whose params.yaml the overrides are for.
        arguments: `--name value` pairs, as MLflow hands them over; an empty value means as it is.

    Raises:
        ParamsError: the arguments are no pairs, or there is no such recipe.
    """
    if len(arguments) % 2 or not all(name.startswith("--") and len(name) > 2 for name in arguments[::2]):
        raise ParamsError(
            f"parameters come as --name value, not {' '.join(arguments)!r}; use mlflow run . -P name=value."
        )
    given = {name[2:]: value for name, value in zip(arguments[::2], arguments[1::2], strict=True) if value != ""}
    named = given.pop(RECIPE, None)
    return [
        *([] if named is None else _recipe(root, named)),
        *(f"++{name}={value}" for name, value in given.items()),
    ]


def _recipe(root: Path, name: str) -> Iterator[str]:
    before = recipes.loaded((root / PARAMS_FILE).read_text(encoding="utf-8"))
    return _changes(before, recipes.loaded(recipes.render(root, name)), "")


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Overrides in DVC's language: `~name` takes away, `++name=value` sets."""
    yield from (f"~{prefix}{key}" for key in before if key not in after)
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            yield from _changes(old, value, f"{prefix}{key}.")
        elif key not in before or old != value or type(old) is not type(value):
            yield f"++{prefix}{key}={_spelled(value)}"


def _spelled(value: object) -> str:
    """A value in the grammar of DVC's overrides."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + ",".join(map(_spelled, value)) + "]"
        case dict():
            return "{" + ",".join(f"{key}:{_spelled(item)}" for key, item in value.items()) + "}"
        case _:
            return repr(value)


def check(root: Path, overrides: Sequence[str]) -> Params:
    """The effective parameters, or a ParamsError before any stage runs."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / PARAMS_FILE
        copy.write_bytes((root / PARAMS_FILE).read_bytes())
        for override in overrides:
            try:
                apply_overrides(copy, [override])
            except (DvcException, ValueError, TypeError) as error:
                typed = override.removeprefix("++")
                raise ParamsError(
                    f"{typed!r} is not a value that DVC can set ({error.__cause__ or error}); quote it as for "
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
        apply_overrides(root / PARAMS_FILE, list(overrides))
        yield
    finally:
        for name, content in before.items():
            with artifacts.writing(root / name) as temporary:
                temporary.write_bytes(content)
        if had_outputs:
            _dvc(root, "checkout", "--quiet")


def _carried(root: Path, params: Params) -> list[str]:
    """Options that carry what git does not know into the copy: local data, local weights, and new files.

    Raises:
        ImagetrailError: one of them lies outside the repository by a relative path, which the copy would miss.
    """
    paths = (_git(root, "ls-files", "--others", "--exclude-standard", "-z") or "").split("\0")
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
        if inside and _git(root, "check-ignore", "--quiet", f"{place}/x") is not None:
            paths += [path.as_posix() for path in sorted((root / folder).iterdir()) if path.name != ".gitkeep"]
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
