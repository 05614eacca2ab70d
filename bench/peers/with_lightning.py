"""Lightning: a LightningModule and its Trainer over the classic DataLoader."""

from typing import Any

import classic
import torch
import work
from lightning import LightningModule, Trainer
from torch import nn


class Classifier(LightningModule):
    """The textbook network with its loss and optimizer."""

    def __init__(self, recipe: str) -> None:
        """Build the network."""
        super().__init__()
        self._recipe, self._network, self._loss = recipe, work.network(recipe), nn.CrossEntropyLoss()

    def training_step(self, batch: Any) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        loss: torch.Tensor = self._loss(self._network(images), labels)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the recipe's optimizer."""
        return work.optimizer(self._recipe, self)


def main() -> None:
    """Train."""
    recipe, workers = work.asked()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=0, **quiet)
    model, batches = Classifier(recipe), classic.loader(recipe, workers)

    def epoch() -> None:
        trainer.fit_loop.max_epochs += 1
        trainer.fit(model, batches)

    work.report(recipe, epoch)


if __name__ == "__main__":
    main()
