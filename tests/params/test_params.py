"""params.yaml: one home of every default, all mistakes at once, each with its fix."""

from pathlib import Path

import pytest
from support import REPOSITORY, set_params

from imagetrail.errors import ParamsError
from imagetrail.params import recipes
from imagetrail.params.load import load_params


def test_params_yaml_equals_the_default_recipe() -> None:
    assert recipes.render(REPOSITORY, "default") == (REPOSITORY / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train__epocs": 3}, "train.epocs = 3 is not a parameter; did you mean 'epochs'?"),
        ({"trian": {}}, "trian = {} is not a parameter; did you mean 'train'?"),
        ({"train__epochs": 0}, "train.epochs = 0 must be greater than or equal to 1"),
        ({"train__epochs": "3"}, "train.epochs = '3' must be integer"),
        ({"train__epochs": True}, "train.epochs = True must be integer"),
        ({"train__batch_size": 0}, "train.batch_size = 0 must be greater than or equal to 1"),
        ({"train__optimizer__lr": -0.1}, "train.optimizer.lr = -0.1 must be greater than 0"),
        ({"train__optimizer__lr": 0}, "train.optimizer.lr = 0 must be greater than 0"),
        ({"train__optimizer__lr": float("nan")}, "train.optimizer.lr = nan must be"),
        ({"train__optimizer__lr": float("inf")}, "train.optimizer.lr = inf must be a finite number"),
        ({"train__optimizer__lrr": 1}, "'lrr' is not a parameter of AdamW; did you mean 'lr'?"),
        ({"train__optimizer__weight_decay": "x"}, "weight_decay = 'x' does not fit AdamW, which takes float"),
        ({"train__optimizer__name": "adamw"}, "'adamw' is not known here; did you mean 'AdamW'?"),
        ({"train__schedule__name": "StepLR"}, "StepLR needs 'step_size'; give it a value"),
        ({"train__schedule": 3}, "train.schedule = 3 must be a mapping with the keys of Schedule"),
        ({"train__loss__name": "MSELoss"}, "'MSELoss' is not known here"),
        ({"train__device": "gpu"}, "train.device = 'gpu' is not valid; did you mean 'cpu'?"),
        ({"model__name": "SmalCNN"}, "'SmalCNN' is not known here; did you mean 'SmallCNN'?"),
        ({"model__widths": 3}, "widths = 3 does not fit SmallCNN, which takes list[int ≥ 1]"),
        ({"model__depth": 3}, "'depth' is not a parameter of SmallCNN"),
        ({"split__test": 0}, "split.test = 0 must be greater than 0"),
        ({"split__test": 1}, "split.test = 1 must be less than 1"),
        ({"split__test": 1.2}, "split.test = 1.2 must be less than 1"),
        ({"split__val": 0, "train__keep": "best"}, "train.keep = 'best' needs validation rows, and split.val = 0"),
        ({"preprocess__image_size": 0}, "preprocess.image_size: 0 must be one number of pixels, or [height, width]"),
        ({"preprocess__image_size": [8]}, "preprocess.image_size: [8] must be one number of pixels"),
        ({"preprocess__channels": 2}, "preprocess.channels = 2 is not valid"),
        ({"download__source": "mnist"}, "download.source = 'mnist' is not valid; did you mean 'MNIST'?"),
        ({"machine__jobs": 0}, "jobs = 0 decodes nothing"),
        ({"preprocess__divisor": 8}, "image_size = 8 and divisor = 8: one of them decides the size"),
        ({"preprocess__image_size": None}, "image_size = None and divisor = None: one of them decides the size"),
        ({"preprocess__short_side": 7}, "short_side = 7 must be at least image_size = 8, a part of it"),
        ({"download__extension": "j/g"}, "download.extension = 'j/g' must"),
        ({"download__pattern": "{label}/{grp}_*"}, "has the field {grp}; did you mean 'group'?"),
        ({"download__pattern": "{label}/{label}"}, "is not a pattern; give each field once, as in '{label}/{group}_*"),
        ({"download__source": "folder", "download__pattern": "{group}/*"}, "needs {label} with source = 'folder'"),
        ({"download__source": "csv", "download__pattern": "{label}/*"}, "must leave {label} to label_column"),
        ({"download__source": "csv", "download__header": False}, "header = false needs image_column and label_column"),
        ({"download__source": "parquet", "download__image_column": 1}, "columns of parquet are given by name"),
        ({"download__label_column": ["a"]}, "label_column = ['a'] must have at least 2 items"),
        ({"model__weights": 3}, "model.weights = 3 must be string"),
        ({"model__weights": "ResNet5_Weights.V1"}, "'ResNet5_Weights.V1' is not known to torchvision; did you mean"),
        ({"model": {"name": "resnet5", "weights": None}}, "'resnet5' is not known here; did you mean 'resnet50'?"),
        ({"model": {"name": "resnet50", "weights": None}}, "resnet50 needs 'freeze'; give it a value"),
        (
            {"model": {"name": "resnet50", "weights": None, "freeze": True}},
            "freeze = True keeps random weights for ever",
        ),
        ({"model": {"name": "SmallCNN", "widths": [4], "dropout": 0.1}}, "model.weights is missing"),
        ({"train__augment": []}, "train.augment = [] is empty; set it to null"),
        (
            {"train__augment": [{"name": "RandomAfine"}]},
            "'RandomAfine' is not known here; did you mean 'RandomAffine'?",
        ),
        ({"train__augment": [{"name": "RandomErasing", "q": 1}]}, "'q' is not a parameter of RandomErasing"),
        (
            {"train__augment": [{"name": "RandomMixUpV2"}, {"name": "RandomCutMixV2"}]},
            "augment has RandomMixUpV2 and RandomCutMixV2, and labels can be mixed once",
        ),
        (
            {"train__augment": [{"name": "RandomMixUpV2"}], "train__loss": {"name": "MultiMarginLoss"}},
            "augment has RandomMixUpV2, which mixes labels: MultiMarginLoss cannot take that",
        ),
        ({"train__warmup_epochs": 20}, "warmup_epochs = 20 leaves none of epochs = 20"),
        (
            {"train__warmup_epochs": 2, "train__schedule": None},
            "warmup_epochs = 2 has no effect: train.schedule is null",
        ),
        (
            {"train__warmup_epochs": 2, "train__schedule": {"name": "OneCycleLR"}},
            "warmup_epochs = 2 has no effect: train.schedule has a warm-up of its own",
        ),
        (
            {"train__averaging": {"start_epoch": 21, "decay": None}},
            "averaging.start_epoch = 21 has no effect in 20 epochs",
        ),
        ({"train__patience": 20}, "patience = 20 has no effect in 20 epochs"),
        ({"train__patience": 3, "split__val": 0}, "train.patience = 3 needs validation rows"),
        ({"train__calibration": "temperature", "split__val": 0}, "train.calibration = 'temperature' needs validation"),
        (
            {"train__normalisation": {"mean": [0.5] * 3, "std": [0.5] * 3}},
            "train.normalisation must have a mean and a std for each of preprocess.channels = 1",
        ),
        ({"train__schedule": {"name": "OneCycleLR", "max_lr": 0.1}}, "'max_lr' is not a parameter of OneCycleLR"),
        ({"train__schedule": {"name": "LambdaLR"}}, "'LambdaLR' is not known here"),
        ({"model__dropout": 5}, "dropout = 5 does not fit SmallCNN, which takes float in [0, 1)"),
        ({"model__widths": [8, 0]}, "widths = [8, 0] does not fit SmallCNN, which takes list[int ≥ 1]"),
        ({"train__optimizer__lr": 1e300}, "lr = 1e+300 does not fit AdamW"),
        ({"train__optimizer__weight_decay": float("nan")}, "weight_decay = nan does not fit AdamW"),
        ({"train__threads": 10**9}, "train.threads = 1000000000 must be less than or equal to 1024"),
        ({"train__batch_size": 10**30}, "train.batch_size = 1000000000000000000000000000000 must be less than"),
        ({"machine__jobs": 10**20}, "machine.jobs = 100000000000000000000 must be less than or equal to 1024"),
        ({"evaluate__mistakes": 10**6}, "evaluate.mistakes = 1000000 must be less than or equal to 1000"),
        ({"train__normalisation": {"mean": [float("nan")], "std": [1.0]}}, "train.normalisation.mean = nan must be"),
        ({"download__path": "a" * 300}, "download.path = '" + "a" * 59 + "… is longer than 250"),
        ({"download__table": "a\0b"}, r"'a\x00b' holds a control character"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_mistakes_are_one_sentence_with_name_value_and_fix(root: Path, change: dict, message: str) -> None:
    set_params(root, **change)
    with pytest.raises(ParamsError) as error:
        load_params(root)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_reported_at_once(root: Path) -> None:
    set_params(root, train__epochs=0, split__test=2, train__optimizer__lrr=1, model__dropuot=0.1)
    with pytest.raises(ParamsError, match="4 mistakes") as error:
        load_params(root)
    for name in ("train.epochs", "split.test", "lrr", "dropuot"):
        assert name in str(error.value)


def test_a_missing_parameter_suggests_the_default(root: Path) -> None:
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("  batch_size: 64\n", ""))
    with pytest.raises(ParamsError, match=r"train\.batch_size is missing; recipes/default\.yaml holds its default"):
        load_params(root)


@pytest.mark.parametrize("text", ["1e-3", "1e-05", "0.001", "1.0e-3"])
def test_yaml_1_2_numbers_are_numbers(root: Path, text: str) -> None:
    source = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(source.replace("lr: 0.003", f"lr: {text}"))
    assert load_params(root).train.optimizer.lr == float(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not valid YAML"),
        ("train: !!python/object/apply:os.system ['touch canary']", "is not valid YAML"),
        ("a: 1\na: 2", "is not valid YAML"),
        ("- 1", "holds list instead of sections"),
    ],
)
def test_an_invalid_parameters_file_is_rejected(root: Path, text: str, message: str) -> None:
    (root / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message):
        load_params(root)
    assert not Path("canary").exists()


def test_a_missing_params_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="run from the repository's root"):
        load_params(tmp_path)


def test_effective_parameters_omit_those_without_effect(root: Path) -> None:
    digits = load_params(root).effective()
    assert "download.table" not in digits
    assert not any(name.startswith("machine") for name in digits)
    assert digits["preprocess.image_size"] == 8
    set_params(root, download__source="csv", preprocess__image_size=[8, 9], train__schedule=None)
    csv = load_params(root).effective()
    assert csv["download.table"] == "labels.csv"
    assert csv["preprocess.image_size"] == [8, 9]
    assert not any(name.startswith("train.schedule") for name in csv)


@pytest.mark.parametrize(
    ("source", "used", "unused"),
    [
        ("folder", set(), {"table", "archive", "label_column"}),
        ("parquet", {"image_column", "label_column"}, {"table", "delimiter", "archive"}),
        ("archive", {"archive", "sha256", "table", "label_column", "images"}, set()),
    ],
)
def test_effective_parameters_contain_the_sources_options(
    root: Path, source: str, used: set[str], unused: set[str]
) -> None:
    set_params(root, download__source=source)
    if source == "archive":
        set_params(root, download__archive="pets.zip", download__sha256="0" * 64)
    names = {name.removeprefix("download.") for name in load_params(root).effective()}
    assert used <= names
    assert not unused & names


def test_null_means_not_passed(root: Path) -> None:
    set_params(root, train__optimizer__weight_decay=None)
    assert load_params(root).train.optimizer.arguments == {"lr": 0.003}
