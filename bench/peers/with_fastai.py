"""fastai: PIL images, its batch augmentations, and a Learner."""

from functools import partial

import torch
import work
from fastai.vision.all import (
    Datasets,
    IntToFloatTensor,
    Learner,
    Normalize,
    OptimWrapper,
    PILImageBW,
    Rotate,
    ToTensor,
    Zoom,
)  # fmt: skip
from torch import nn


def main() -> None:
    """Train."""
    recipe, workers = work.asked()
    images, labels = work.images(recipe)
    turned = [Rotate(max_deg=work.ROTATED, p=1.0), Zoom(min_zoom=28 / 22, max_zoom=28 / 22, p=work.MAGNIFIED)]
    pairs = Datasets(
        range(len(images)), [[lambda i: PILImageBW.create(images[i])], [lambda i: torch.tensor(labels[i])]]
    )
    batches = pairs.dataloaders(
        bs=work.BATCH[recipe],
        num_workers=workers,
        after_item=[ToTensor()],
        after_batch=[
            IntToFloatTensor(), *(turned if recipe == "mnist-cnn" else []),
            Normalize.from_stats([work.MEAN], [work.STD], cuda=False),
        ],
    )  # fmt: skip
    kinds = {"mnist-cnn": partial(torch.optim.SGD, momentum=0.95), "fashion-mlp": torch.optim.AdamW}
    learner = Learner(
        batches, work.network(recipe), nn.CrossEntropyLoss(), partial(OptimWrapper, opt=kinds[recipe]), lr=0.01
    )

    def epoch() -> None:
        with learner.no_bar(), learner.no_logging():
            learner.fit(1)

    work.report(recipe, epoch)


if __name__ == "__main__":
    main()
