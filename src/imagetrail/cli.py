"""The command `imagetrail`: the few things that neither dvc nor mlflow does."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from imagetrail.errors import DataError, guard
from imagetrail.prediction import Prediction


def main() -> None:
    """Entry point of the console script."""
    guard(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="imagetrail", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="label image files with a trained model")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    predict.add_argument(
        "--run", metavar="ID", help="a run's id, or a models:/ URI; default: the model in models/", default=None
    )
    predict.add_argument("--json", action="store_true", help="all probabilities, as JSON")
    predict.set_defaults(command=_predict)
    recipe = commands.add_parser("recipe", help="classic systems: list, show, put into params.yaml")
    actions = recipe.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every recipe with its data, parameters and figure")
    listing.set_defaults(command=_list_recipes)
    for name, command, text in (
        ("show", _show_recipe, "print a recipe with its header"),
        ("apply", _apply_recipe, "put a recipe into params.yaml"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", metavar="NAME")
        action.set_defaults(command=command)
    server = commands.add_parser("server", help="MLflow on PostgreSQL, on this machine; Ctrl-C ends it")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine alone")
    server.add_argument("--port", type=int, default=5000)
    server.add_argument("--allowed-hosts", nargs="*", default=[], metavar="NAME:PORT",
                        help="names under which other machines reach it")  # fmt: skip
    server.set_defaults(command=_serve)
    arguments = parser.parse_args()
    arguments.command(arguments)


def _predict(arguments: argparse.Namespace) -> None:
    from imagetrail import artifacts, prediction

    if arguments.run is None:
        predictor = prediction.from_files(artifacts.MODELS)
    else:
        from imagetrail.tracking.models import load

        predictor = load(Path(), arguments.run)
    predictions, problems = prediction.predict(predictor, arguments.images)
    if arguments.json:
        print(json.dumps([asdict(p) for p in predictions], indent=2, ensure_ascii=False))
    else:
        _print_table(predictions)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(arguments.images)} images were not answered:\n  " + "\n  ".join(problems)
        )


def _serve(arguments: argparse.Namespace) -> None:
    from imagetrail import server

    address = f"http://{arguments.host}:{arguments.port}"
    print(f"MLflow on PostgreSQL at {address}; in another terminal: export MLFLOW_TRACKING_URI={address}", flush=True)
    server.serve(Path(), arguments.host, arguments.port, arguments.allowed_hosts)


def _list_recipes(_: argparse.Namespace) -> None:
    from imagetrail import recipes

    lines = [("recipe", "data", "parameters", "reaches")]
    for name in recipes.names(Path()):
        about = recipes.read(Path(), name).about
        lines.append((name, about.data, about.parameters, about.reach))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _show_recipe(arguments: argparse.Namespace) -> None:
    from imagetrail import recipes

    print(recipes.read(Path(), arguments.name).text, end="")


def _apply_recipe(arguments: argparse.Namespace) -> None:
    from imagetrail import recipes

    changes = recipes.apply(Path(), arguments.name)
    for name, (before, after) in changes.items():
        print(f"  {name}: {json.dumps(before, ensure_ascii=False)} → {json.dumps(after, ensure_ascii=False)}")
    print(f"params.yaml holds {arguments.name}: {len(changes)} values changed; `dvc repro` runs it.")


def _print_table(predictions: list[Prediction]) -> None:
    if not predictions:
        return
    width = max(len(p.image) for p in predictions)
    label_width = max(len(p.label) for p in predictions)
    for p in predictions:
        ranked = sorted(p.probabilities.items(), key=lambda item: -item[1])[:3]
        shown = "  ".join(f"{name} {value:.4f}" for name, value in ranked)
        print(f"{p.image:<{width}}  {p.label:<{label_width}}  {shown}", file=sys.stdout)
