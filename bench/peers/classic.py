"""The classic loop: torchvision's transforms on PIL images, a DataLoader, float32."""

from typing import Any

import torch
import work
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Images(Dataset[Any]):
    """As torchvision's MNIST: a PIL image for each access, then the transforms."""

    def __init__(self, recipe: str) -> None:
        """Make the images."""
        self._images, self._labels = work.images(recipe)
        augment = [
            transforms.RandomApply([transforms.CenterCrop(22), transforms.Resize(28)], p=work.MAGNIFIED),
            transforms.RandomRotation(work.ROTATED),
        ]
        end = [transforms.ToTensor(), transforms.Normalize((work.MEAN,), (work.STD,))]
        self._transform = transforms.Compose([*(augment if recipe == "mnist-cnn" else []), *end])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


def loader(recipe: str, workers: int) -> DataLoader[Any]:
    """Batch the images, with workers that stay."""
    return DataLoader(
        Images(recipe), work.BATCH[recipe], shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def main() -> None:
    """Train."""
    recipe, workers = work.asked()
    batches, model, loss = loader(recipe, workers), work.network(recipe), nn.CrossEntropyLoss()
    optimizer = work.optimizer(recipe, model)

    def epoch() -> None:
        for images, labels in batches:
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            optimizer.step()

    work.report(recipe, epoch)


if __name__ == "__main__":
    main()
