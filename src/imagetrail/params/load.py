"""Read and check params.yaml as a whole: the sections, and the rules between them.

Defaults live in params.yaml only. All problems are reported at once, each with the nearest valid name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator

from imagetrail.errors import ParamsError
from imagetrail.params import messages, portable, yaml_text
from imagetrail.params.download import Download
from imagetrail.params.evaluate import Evaluate
from imagetrail.params.export import Export
from imagetrail.params.machine import Machine
from imagetrail.params.model import Model
from imagetrail.params.preprocess import Preprocess
from imagetrail.params.section import Leaf, Section, leaves
from imagetrail.params.split import Split
from imagetrail.params.train import Train

PARAMS_FILE = "params.yaml"


class Params(Section):
    """The whole of params.yaml."""

    download: Download
    preprocess: Preprocess
    split: Split
    model: Model
    train: Train
    evaluate: Evaluate
    export: Export
    machine: Machine

    @model_validator(mode="after")
    def _settings_have_effect(self) -> Self:
        if self.train.keep == "best" and self.split.val == 0:
            raise ValueError("train.keep = 'best' needs validation rows, and split.val = 0 sets none aside; "
                             "set split.val above 0 or train.keep to 'last'")  # fmt: skip
        if self.train.patience and self.split.val == 0:
            raise ValueError(f"train.patience = {self.train.patience} needs validation rows, and split.val = 0 sets "
                             "none aside; set split.val above 0 or train.patience to null")  # fmt: skip
        if self.train.calibration and self.split.val == 0:
            raise ValueError(f"train.calibration = {self.train.calibration!r} needs validation rows, and split.val = 0 "
                             "sets none aside; set split.val above 0 or train.calibration to null")  # fmt: skip
        normalisation, channels = self.train.normalisation, self.preprocess.channels
        if normalisation and {len(normalisation.mean), len(normalisation.std)} != {channels}:
            raise ValueError(
                f"train.normalisation must have a mean and a std for each of preprocess.channels = {channels}"
            )
        if self.machine.processes > self.train.shards:
            raise ValueError(
                f"machine.processes = {self.machine.processes} cannot share train.shards = {self.train.shards} parts "
                "of a batch; raise train.shards, which changes the weights, or lower machine.processes"
            )
        has_columns = self.download.columns is not None and "columns" not in self.download.unused
        if self.evaluate.gate is not None and self.evaluate.gate.slice is not None and not has_columns:
            raise ValueError(
                f"evaluate.gate.slice = {self.evaluate.gate.slice:g} needs columns to slice the test rows by; set "
                "download.columns of a table or of Parquet files, or it to null"
            )
        if self.train.arithmetic == "portable" and (refused := list(portable.problems(self))):
            raise ValueError("\n".join(refused))
        return self

    def effective(self) -> dict[str, Leaf]:
        """Return the parameters that affect a training, by dotted name: no nulls, and no options of other sources."""
        unused = self.download.unused | (set() if self.model.weights else {"weights"})
        tree = self.model_dump(mode="json", exclude={"export": True, "machine": True, "download": unused})
        return {name: leaf for name, leaf in leaves(tree) if leaf is not None}


def load_params(root: Path) -> Params:
    """Read and check params.yaml.

    Args:
        root: the repository's root.

    Raises:
        ParamsError: the file is missing or is not YAML, or any parameter is wrong; all mistakes in one message.
    """
    path = root / PARAMS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the repository's root, or restore it with git.") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{PARAMS_FILE} is not UTF-8 ({error}); save it as UTF-8.") from None
    tree = yaml_text.parse(text, PARAMS_FILE)
    if not isinstance(tree, dict):
        raise ParamsError(f"{PARAMS_FILE} holds {type(tree).__name__} instead of sections; restore it with git.")
    return parse_params(tree, PARAMS_FILE)


def parse_params(tree: Mapping[str, object], file: str) -> Params:
    """Check parameters that are already read; `file` is named in the message."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = messages.all_sentences(Params, [dict(problem) for problem in error.errors()])
    unique = list(dict.fromkeys(lines))
    if len(unique) == 1:
        raise ParamsError(f"{file}: {unique[0]}")
    raise ParamsError(f"{file} has {len(unique)} mistakes:\n" + "\n".join(f"  {line}" for line in unique))
