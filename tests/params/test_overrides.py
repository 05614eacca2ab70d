"""Overrides: DVC's own syntax, checked before anything runs."""

from pathlib import Path

import pytest

from imagetrail.errors import ParamsError
from imagetrail.params import overrides


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("train.epcohs=3", "train.epcohs = 3 is not a parameter; did you mean 'epochs'?"),
        ("train.epochs=three", "train.epochs = 'three' must be integer"),
        ("train.optimizer.lr=-1", "train.optimizer.lr = -1 must be greater than 0"),
        ("split.test=1", "split.test = 1 must be less than 1"),
        ("train.optimizer.momentun=0.9", "'momentun' is not a parameter of AdamW"),
        ("train.epochs=[1", "train.epochs = '[1' must be integer"),
        ("recipe=mnist-cn", "'mnist-cn' is not a recipe; did you mean 'mnist-cnn'?"),
    ],
)
def test_a_wrong_override_is_rejected_and_params_yaml_kept(root: Path, parameter: str, message: str) -> None:
    before = (root / "params.yaml").read_bytes()
    with pytest.raises(ParamsError) as error:
        overrides.check(root, overrides.of_arguments(root, dict([parameter.split("=", 1)])))
    assert message in str(error.value)
    assert (root / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("typed", [";", ",", "|"])
def test_values_that_dvc_cannot_parse_are_texts(root: Path, typed: str) -> None:
    changes = overrides.of_arguments(root, {"download.delimiter": typed, "download.extension": "jpg"})
    found = overrides.check(root, changes).download
    assert (found.delimiter, found.suffix) == (typed, ".jpg")
