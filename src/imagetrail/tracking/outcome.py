"""What a model reached, in a sentence, and where to look further."""

import os
from collections.abc import Mapping
from typing import Any

from imagetrail.addresses import shown
from imagetrail.tracking import shared_view

RUNS_PAGE = shared_view.address("http://127.0.0.1:5000", "0")
"""The runs of the experiment Default, the best first; MLflow's own start page is for language models."""


def reached(network: str, test: Mapping[str, Any]) -> str:
    """State the figures of metrics/test.json."""
    return (
        f"{network} reached test accuracy {test['accuracy']:.4f} on {test['n']:,} images "
        f"(loss {test['loss']:.4f}, macro F1 {test['macro_f1']:.4f}, calibration error {test['ece']:.4f})."
    )


def runs() -> str:
    """Say how to open the runs in MLflow."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    return shown(server) if server.startswith("http") else f".venv/bin/mlflow ui, then open {RUNS_PAGE}"
