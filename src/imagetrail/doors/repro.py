"""`make repro`: run DVC's pipeline, ensure that MLflow has the run of its model, and report the figures.

With nothing to do it imports neither torch nor mlflow.
"""

import gc
import os
import sqlite3
from pathlib import Path

from imagetrail.doors import committed, repair
from imagetrail.errors import ImagetrailError, guard
from imagetrail.files import artifacts
from imagetrail.tracking import outbox, store
from imagetrail.tracking.outcome import reached, runs


def main() -> None:
    """Run `dvc repro`, rebuild a missing run and print the results; the exit code is DVC's."""
    gc.disable()  # DVC makes millions of short-lived objects: collecting them is a tenth of its start-up
    guard(lambda: repair.before_dvc(Path()))
    from dvc.cli import main as dvc

    if code := dvc(["repro"]):
        raise SystemExit(code)
    guard(lambda: repair.after_dvc(Path()))
    guard(report)


def report() -> None:
    """Ensure that the model has a run, send what MLflow missed, and print figures, files and how to open the UI."""
    root = Path()
    train, test = artifacts.read_metrics(root, "train"), artifacts.read_metrics(root, "test")
    card = artifacts.read_card(root)
    if outbox.waiting(root) or not _has_run(root, card["sha256"]):
        from imagetrail.params.load import load_params
        from imagetrail.tracking.stages import rebuild

        rebuild(root, load_params(root))
    print(
        f"\n{reached(card['name'], test)}\n"
        f"  model      models/model.safetensors, {train['parameters']:,} parameters\n"
        f"  figures    metrics/train.json, metrics/test.json, plots/predictions.csv\n"
        f"  report     plots/report.html, the whole evaluation on one page\n"
        f"  pictures   plots/*.png; all plots in a page: .venv/bin/dvc plots show --open\n"
        f"  MLflow     {runs()}"
    )
    if (verdict := committed.verdict(root)) is not None:
        print(f"  commit     {verdict}")


def _has_run(root: Path, model_sha256: str) -> bool:
    """Return whether the default store has a run of the model, directly from SQLite; False if a server is used."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return False
    database = artifacts.workspace(root) / store.DATABASE
    if not database.is_file():
        return False
    store.follow(database.resolve())
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    try:
        query = (
            "SELECT 1 FROM tags JOIN runs USING (run_uuid) "
            "WHERE key = 'imagetrail.model_sha256' AND value = ? AND lifecycle_stage = 'active' LIMIT 1"
        )
        return connection.execute(query, (model_sha256,)).fetchone() is not None
    except sqlite3.Error as error:
        raise ImagetrailError(f"{database} cannot be read ({error}); move it away to start a new one.") from error
    finally:
        connection.close()
