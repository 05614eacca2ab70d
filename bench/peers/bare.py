"""The bare loop: our network on batches that are ready in memory; no augmentation, no totals, no order."""

import ours
import torch
import work
from torch import nn

from imagetrail.model.classifier import Classifier
from imagetrail.train import optimisation


def main() -> None:
    """Train."""
    recipe, _ = work.asked()
    task, options = ours.task(recipe)
    model, loss = Classifier(task.card).train(), nn.CrossEntropyLoss()
    optimizer = optimisation.optimizer(options, model.parameters())
    size, bfloat16 = work.BATCH[recipe], options.precision == "bfloat16"
    pixels, labels = torch.from_numpy(task.train.images), torch.from_numpy(task.train.labels)
    batches = list(zip(pixels.split(size), labels.split(size), strict=True))

    def epoch() -> None:
        for images, targets in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = model(images)
            loss(logits.float(), targets).backward()
            optimizer.step()

    work.report(recipe, epoch)


if __name__ == "__main__":
    main()
