"""The command `imagetrail`: the few things that neither DVC nor MLflow does."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imagetrail.errors import ParamsError, guard

if TYPE_CHECKING:
    from imagetrail.download.reading import Reading
    from imagetrail.model.classifier import Classifier


def main() -> None:
    """Run the console script; a name that is not UTF-8 is printed with escapes."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    guard(lambda: run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> None:
    """Run a command with its arguments; `guard` turns what it raises into one line and an exit code."""
    parsed = parser().parse_args(arguments)
    parsed.command(parsed)


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(prog="imagetrail", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="look at a folder of data, and write a params.yaml for it")
    init.add_argument("path", nargs="?", metavar="PATH", help="the folder; default: download.path of params.yaml")
    init.add_argument("--dry-run", action="store_true", help="show what it would write, and write nothing")
    init.add_argument("--minutes", type=float, default=5, help="time for the training on this machine")
    init.add_argument("--try", action="store_true", dest="tries", help="train the candidates for an epoch, and take "
                      "the one that is best on validation rows")  # fmt: skip
    init.set_defaults(command=_init)
    predict = commands.add_parser("predict", help="label image files with a trained model")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="a file, a folder, a pattern such as '*/cat*.jpg', "
                         "a .csv or .tsv with a column of names, or - for names on standard input")  # fmt: skip
    predict.add_argument("--run", metavar="RUN", help="id, its beginning, name, champion:NAME, or a models:/ URI; "
                         "default: the champion of evaluate.registry, or the model in models/ where that is "
                         "null")  # fmt: skip
    predict.add_argument("--column", metavar="NAME", help="of the tables; default: download.image_column")
    predict.add_argument("--coverage", type=float, metavar="SHARE", help="answer with the set of labels that holds the "
                         "truth that often, such as 0.95")  # fmt: skip
    predict.add_argument("--json", action="store_true", help="all probabilities, as JSON Lines")
    predict.add_argument("--output", type=Path, metavar="FILE", help="write a .jsonl, .csv or .parquet file instead")
    predict.set_defaults(command=_predict)
    serve = commands.add_parser("serve", help="answer HTTP requests with a model's predictions; Ctrl-C ends it")
    serve.add_argument("run", nargs="?", metavar="RUN", help="as for predict --run, or champion for that of "
                       "evaluate.registry; default: as for predict")  # fmt: skip
    _add_address(serve, 8000, "NAME")
    serve.set_defaults(command=_serve_model)
    export = commands.add_parser("export", help="write a run's model as ONNX, proven on the test images, into the run")
    export.add_argument("run", metavar="RUN", help="as for predict --run")
    export.add_argument("--to", required=True, choices=["onnx", "onnx-int8"], help="int8 is calibrated on train rows")
    export.set_defaults(command=_export)
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
    sweep = commands.add_parser("sweep", help="many trainings: a search, cross-validation, or several seeds")
    sweep.add_argument("space", nargs="?", default="default", metavar="SPACE", help="a file of sweeps/")
    sweep.add_argument("--trials", type=int, default=20)
    sweep.add_argument("--workers", type=int, default=1, help="processes that train at the same time")
    sweep.add_argument("--folds", type=int, default=0, help="cross-validate params.yaml instead, in so many folds")
    sweep.add_argument(
        "--seeds", type=int, default=0, help="train params.yaml under so many seeds instead, and test each"
    )
    sweep.add_argument(
        "-S", "--set-param", action="append", default=[], type=_pair, metavar="NAME=VALUE", dest="changes",
        help="a parameter of all trials, as for dvc exp run",
    )  # fmt: skip
    sweep.add_argument("--storage", metavar="URL", help="database of the sweep that other machines reach: "
                       "postgresql+psycopg://…; default: a file of this checkout")  # fmt: skip
    sweep.add_argument("--join", action="store_true", help="add workers to the sweep that was started with the rest "
                       "of this command, perhaps elsewhere")  # fmt: skip
    sweep.add_argument("--apply", action="store_true", help="put the winner into params.yaml")
    sweep.set_defaults(command=_sweep)
    compare = commands.add_parser("compare", help="runs on the same test images: what differs, and whether by chance")
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="id, its beginning, name, or champion:NAME; two or more"
    )
    compare.add_argument("--json", action="store_true", help="everything, as JSON")
    compare.add_argument("--page", type=Path, metavar="FILE", help="also write an HTML page with the images")
    compare.set_defaults(command=_compare)
    reproduce = commands.add_parser("reproduce", help="make a run again from what MLflow holds of it, and compare")
    reproduce.add_argument("run", metavar="RUN", help="id, its beginning, name, or champion:NAME")
    reproduce.set_defaults(command=_reproduce)
    server = commands.add_parser("server", help="MLflow on PostgreSQL, on this machine; Ctrl-C ends it")
    _add_address(server, 5000, "NAME:PORT")
    server.set_defaults(command=_serve)
    moving = commands.add_parser("move-store", help="copy mlflow.db and mlruns/ into the server's store, ids kept")
    moving.add_argument("database", nargs="?", metavar="DATABASE", help="postgresql+psycopg://… of another server; "
                        "default: that of `imagetrail server`")  # fmt: skip
    moving.set_defaults(command=_move_store)
    return parser


def _add_address(command: argparse.ArgumentParser, port: int, name: str) -> None:
    """Add the options of a command that listens; `name` is the form of a name under which others reach it."""
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: reachable from this machine only"
    )
    command.add_argument("--port", type=int, default=port)
    command.add_argument("--allowed-hosts", nargs="*", default=[], metavar=name,
                         help="names under which other machines reach it")  # fmt: skip


def sweep_arguments(given: Mapping[str, str]) -> list[str]:
    """Translate `mlflow run . -e sweep -P …` into arguments of the command `sweep`: its own options, and parameters."""
    own = {"trials", "workers", "folds", "seeds"}
    options = [part for name, value in given.items() if name in own for part in (f"--{name}", value)]
    changes = [
        part for name, value in given.items() if name not in own | {"space"} for part in ("-S", f"{name}={value}")
    ]
    return ["sweep", *([given["space"]] if "space" in given else []), *options, *changes]


def _pair(typed: str) -> tuple[str, str]:
    name, equals, value = typed.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{typed!r} must be NAME=VALUE")
    return name, value


def _init(arguments: argparse.Namespace) -> None:
    from imagetrail.download.reading import refuse
    from imagetrail.download.recognise import recognise
    from imagetrail.params import load

    root = Path()
    place = Path(arguments.path or load.load_params(root).download.path)
    if not (place.is_absolute() or (root / place).resolve().is_relative_to(root.resolve())):
        place = place.resolve()
    reading = recognise(root / place, _asked if sys.stdin.isatty() and sys.stdout.isatty() else refuse)
    from imagetrail.init import choose, look, tell, tryout, write  # with torch, after what fails fast

    seen = look.look(root, place.as_posix(), reading)
    print(tell.found(place.as_posix(), reading, seen))
    proposal = choose.propose(root, place.as_posix(), reading, seen, arguments.minutes)
    text = proposal.text
    if arguments.tries:
        variants = choose.variants(root, proposal, seen, arguments.minutes)
        trials = tryout.compare(root, variants)
        print(f"\n{tell.tried(trials)}")
        best = next(variant for variant in variants if variant.name == trials[0].name)
        proposal, text = replace(proposal, choices=best.choices), best.text
    print(f"\n{tell.proposed(proposal)}\n")
    if arguments.dry_run:
        print("Nothing was written; without --dry-run, params.yaml gets these.")
        return
    write.write(root, text)
    print(f"params.yaml holds them; `dvc repro` trains for about {max(1, round(proposal.seconds / 60))} min.")


def _asked(question: str, readings: "Sequence[Reading]") -> "Reading":
    from imagetrail.init import tell

    print(tell.question(question, readings))
    while True:
        answer = input(f"1 to {len(readings)}: ").strip()
        if answer.isdigit() and 1 <= int(answer) <= len(readings):
            return readings[int(answer) - 1]


def _predict(arguments: argparse.Namespace) -> None:
    from imagetrail.console import progress, warn
    from imagetrail.model import devices
    from imagetrail.params.load import load_params
    from imagetrail.predict import inputs, outputs
    from imagetrail.predict.classify import classify

    model = _model(arguments.run)
    options = load_params(Path()).download
    named = partial(inputs.images, arguments.images, options, arguments.column)
    total = None if inputs.STANDARD_INPUT in arguments.images else sum(1 for _ in named(lambda remark: None))
    images = ((str(path), path) for path in named(warn))
    found = classify(model, images, devices.choose("auto"), arguments.coverage)
    write_line = outputs.json_lines if arguments.json else outputs.table
    writer = (
        outputs.file(arguments.output, model.card.classes) if arguments.output else nullcontext(write_line(sys.stdout))
    )
    is_shown = arguments.output is None and sys.stdout.isatty()  # where a bar would run through the lines
    answered = failed = 0
    with writer as write:
        for prediction in progress(found, total=total, description="predict", unit="image", hidden=is_shown):
            write(prediction)
            answered += prediction.error is None
            if prediction.error is not None:
                failed += 1
                warn(f"{prediction.image}: {prediction.error}.")
    if failed:
        print(f"imagetrail: {failed} of {answered + failed} images were not answered; see above.", file=sys.stderr)
        raise SystemExit(1)


def _model(reference: str | None) -> "Classifier":
    """Load the model of a run or of the registry; by default the champion, or the one in models/."""
    from imagetrail.files import artifacts
    from imagetrail.model import classifier

    if (reference := reference or _champion(Path())) is None:
        return classifier.load(artifacts.MODELS)
    from imagetrail.tracking import logged_model

    return logged_model.load(Path(), reference)


def _serve_model(arguments: argparse.Namespace) -> None:
    from imagetrail.serving import listen

    reference, champion = arguments.run, _champion(Path())
    if reference == "champion" and champion is None:
        raise ParamsError("evaluate.registry = null, so there is no champion; name a run, or set it.")
    reference = champion if reference in (None, "champion") else reference
    listen.listen(Path(), reference, arguments.host, arguments.port, arguments.allowed_hosts)


def _export(arguments: argparse.Namespace) -> None:
    from imagetrail.export import exporter

    found = exporter.export(Path(), arguments.run, arguments.to)
    _print_columns(found.agreement.table())
    print(f"Run {found.run_id} holds them in {found.place}.")


def _sweep(arguments: argparse.Namespace) -> None:
    from imagetrail.sweeps import study

    if arguments.apply and (arguments.folds or arguments.seeds):
        option = "--folds" if arguments.folds else "--seeds"
        raise ParamsError(
            f"--apply has no effect with {option}, which takes params.yaml as it is; leave one of them out."
        )
    request = study.Request(
        arguments.space, arguments.folds, arguments.seeds, arguments.trials, arguments.workers, dict(arguments.changes),
        arguments.storage,
    )  # fmt: skip
    outcome = (study.join if arguments.join else study.run)(Path(), request)
    print(outcome.summary())
    if arguments.apply:
        outcome.apply(Path())
        print("params.yaml holds the winner; `dvc repro` trains and tests it.")


def _champion(root: Path) -> str | None:
    """Return the URI of the model that predicts by default; None means the one in models/."""
    from imagetrail.params.load import load_params

    name = load_params(root).evaluate.registry
    return None if name is None else f"models:/{name}@champion"


def _compare(arguments: argparse.Namespace) -> None:
    from imagetrail.compare import runs
    from imagetrail.tracking import registry

    if len(arguments.runs) < 2:
        raise ParamsError(f"compare takes two or more runs, not only {arguments.runs[0]!r}.")
    compared = [registry.logged_run(Path(), reference) for reference in arguments.runs]
    report = runs.report(compared, registry.judged(Path(), compared[0].test_rows))
    print(report.json() if arguments.json else report.text())
    if arguments.page is not None:
        from imagetrail.compare import page
        from imagetrail.tracking import logged_model

        models = [logged_model.of_run(Path(), run) for run in compared]
        page.write(report, arguments.page, Path(), models)
        print(f"\nThe page is {arguments.page}.", file=sys.stderr)


def _reproduce(arguments: argparse.Namespace) -> None:
    from imagetrail.reproduce.repeat import reproduce

    answer = reproduce(Path(), arguments.run)
    print(answer.text())
    if answer.found.word == "different":
        raise SystemExit(1)


def _serve(arguments: argparse.Namespace) -> None:
    from imagetrail.server import serve

    address = f"http://{arguments.host}:{arguments.port}"
    print(f"MLflow on PostgreSQL at {address}; in another terminal: export MLFLOW_TRACKING_URI={address}", flush=True)
    serve.serve(Path(), arguments.host, arguments.port, arguments.allowed_hosts)


def _move_store(arguments: argparse.Namespace) -> None:
    if arguments.database is None:
        from imagetrail.server import serve

        runs = serve.take_store(Path())
        print(f"{runs} runs are on the server now; mlflow.db and mlruns/ are still here, for you to remove.")
    else:
        from imagetrail.tracking import move

        runs = move.move(Path(), arguments.database)
        print(f"{runs} runs are in the database now; copy what is in mlruns/ to where the server keeps its artifacts.")


def _list_recipes(_: argparse.Namespace) -> None:
    from imagetrail.params import recipes

    lines = [("recipe", "data", "parameters", "reaches")]
    for name in recipes.names(Path()):
        about = recipes.read(Path(), name).about
        lines.append((name, about.data, about.parameters, about.reach))
    _print_columns(lines)


def _print_columns(lines: "Sequence[Sequence[str]]") -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _show_recipe(arguments: argparse.Namespace) -> None:
    from imagetrail.params import recipes

    print(recipes.read(Path(), arguments.name).text, end="")


def _apply_recipe(arguments: argparse.Namespace) -> None:
    from imagetrail.params import recipes

    changes = recipes.apply(Path(), arguments.name)
    for name, (before, after) in changes.items():
        print(f"  {name}: {json.dumps(before, ensure_ascii=False)} → {json.dumps(after, ensure_ascii=False)}")
    print(f"params.yaml holds {arguments.name}: {len(changes)} values changed; `dvc repro` runs it.")
