"""Stage `train`: data/tensors + data/split -> models/model.*, metrics/train.json, plots/history.csv; an MLflow run.

Run from the repository root: python -m stages.train
"""

from pathlib import Path

from imagetrail.errors import guard
from imagetrail.params.load import load_params
from imagetrail.train import launch


def main(root: Path = Path()) -> None:
    """Train on the train rows, select on the validation rows."""
    from imagetrail.files import arrays, artifacts
    from imagetrail.tracking.stages import training_run
    from imagetrail.train import checkpoints, loop, normalisation, processes

    params = load_params(root)
    artifacts.check_tensors(root, "images.npy", "labels.npy")
    train, val = arrays.open_subset(root, "train"), arrays.open_subset(root, "val")
    weights = artifacts.read_weights(root)
    card = normalisation.new_card(params.model, weights, params.train.normalisation, train)
    resumable = checkpoints.of_training(root, card, train, val, params.train)
    start = None if weights is None else weights.path(root, params.download.weights)
    task = loop.Task(card, start, train, val, root)
    with processes.joined(params.train) as group, training_run(root, params, train, tracked=group.rank == 0) as run:
        trained = loop.fit(task, params.train, resumable, run.log_epoch, group)
        if group.local_rank == 0:
            trained.save(root)
            resumable.clear()
        run.finish(trained)


if __name__ == "__main__":
    guard(lambda: launch.run(main))
