"""What portable arithmetic refuses before anything runs."""

from pathlib import Path

import pytest
from support import set_params

from imagetrail.errors import ParamsError
from imagetrail.params.load import load_params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__precision": "bfloat16"}, "train.precision = 'bfloat16' is not portable; set it to float32, or"),
        ({"train__device": "cuda"}, "train.device = 'cuda' is not portable; set it to cpu or auto, or"),
        ({"evaluate__device": "cuda"}, "evaluate.device = 'cuda' is not portable"),
        (
            {"train__optimizer": {"name": "RMSprop", "lr": 0.01}},
            "train.optimizer.name = 'RMSprop' is not portable; use one of Adagrad, Adam, AdamW, SGD, or set",
        ),
        ({"train__optimizer": {"name": "SGD", "lr": 0.1, "foreach": True}}, "train.optimizer.foreach = true is not"),
        ({"train__optimizer": {"name": "SGD", "lr": 0.1, "fused": False}}, "train.optimizer.fused = false is not"),
        (
            {"model": {"name": "vit_b_16", "weights": None, "freeze": False}, "preprocess__channels": 3},
            "model.name = 'vit_b_16' was not proven portable; set train.arithmetic to native",
        ),
    ],
)
def test_what_is_not_proven_is_refused_by_name(root: Path, changes: dict[str, object], message: str) -> None:
    set_params(root, **changes)
    load_params(root)
    set_params(root, train__arithmetic="portable")
    with pytest.raises(ParamsError) as refused:
        load_params(root)
    assert message in str(refused.value)


def test_everything_is_refused_at_once(root: Path) -> None:
    set_params(root, train__arithmetic="portable", train__precision="bfloat16", train__device="cuda")
    with pytest.raises(ParamsError, match="has 2 mistakes"):
        load_params(root)
