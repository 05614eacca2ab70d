"""Keras on torch: arrays, augmentation layers in the model, fit."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import work
from keras import layers


def network(recipe: str) -> keras.Model:
    """Build the textbook network, with the augmentation that Keras has for it."""
    if recipe == "fashion-mlp":
        inner = [layers.Flatten(), layers.Dense(256, "relu"), layers.Dropout(0.2), layers.Dense(work.CLASSES)]
        return keras.Sequential([layers.Rescaling(1 / 255), *inner])
    return keras.Sequential(
        [
            layers.Rescaling(1 / 255), layers.RandomZoom((-0.21, 0.0)), layers.RandomRotation(work.ROTATED / 360),
            layers.Conv2D(32, 3, activation="relu"), layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(128, 3, activation="relu"), layers.Conv2D(256, 3, activation="relu"), layers.MaxPooling2D(),
            layers.Flatten(), layers.Dense(50, "relu"), layers.Dense(work.CLASSES),
        ]
    )  # fmt: skip


def main() -> None:
    """Train."""
    recipe, _ = work.asked()
    images, labels = work.images(recipe)
    model = network(recipe)
    kinds = {"mnist-cnn": keras.optimizers.SGD(0.0175, 0.95), "fashion-mlp": keras.optimizers.AdamW(0.001)}
    model.compile(kinds[recipe], keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    work.report(recipe, lambda: model.fit(images[..., None], labels, batch_size=work.BATCH[recipe], verbose=0))


if __name__ == "__main__":
    main()
