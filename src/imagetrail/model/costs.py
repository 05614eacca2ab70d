"""Count a model's multiply-adds."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imagetrail.errors import TrainingError


def multiply_adds(classifier: nn.Module, channels: int, image_size: tuple[int, int]) -> int:
    """Count the multiply-adds of matrix products and convolutions for one image, while torch computes.

    Args:
        classifier: takes uint8 [1,C,H,W].
        channels: C.
        image_size: (height, width) in pixels.

    Raises:
        TrainingError: the network cannot take such an image.
    """
    device = next(classifier.parameters()).device
    image = torch.zeros((1, channels, *image_size), dtype=torch.uint8, device=device)
    training = classifier.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            classifier.eval()(image)
    except RuntimeError as error:
        height, width = image_size
        raise TrainingError(
            f"the network cannot take images of {height} x {width} pixels ({error}); set preprocess.image_size, or "
            "model.input_size, to what it wants."
        ) from None
    finally:
        classifier.train(training)
    return int(counter.get_total_flops()) // 2
