"""The view of an experiment's runs that our link opens: the columns that matter, the best run first.

MLflow's Share button writes such a view into a tag of the experiment, and an address names it by its key.
"""

import json

KEY = "imagetrail"
VIEW_TAG = f"mlflow.sharedViewState.{KEY}"
SEARCH = {"orderByKey": "metrics.`test/accuracy`", "orderByAsc": False}
VIEW_COLUMNS = (
    "metrics.`test/accuracy`", "metrics.`val/accuracy`", "metrics.`test/loss`", "metrics.`test/ece`",
    "metrics.`model/parameters`", "attributes.`Dataset`", "params.`model.name`", "params.`train.optimizer.lr`",
    "params.`train.epochs`", "params.`train.seed`",
)  # fmt: skip
"""As MLflow's page names them."""


def state() -> str:
    """Return the tag's value."""
    return json.dumps(SEARCH | {"selectedColumns": VIEW_COLUMNS, "columnOrder": VIEW_COLUMNS})


def address(server: str, experiment_id: str) -> str:
    """Return the address of the view."""
    return f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"
