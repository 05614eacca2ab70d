"""The process that decodes and computes. A crash of native code, or an endless image, costs that image alone."""

import io
import os
import signal
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from imagetrail.errors import DataError, ServerError

MOST_PIXELS = 64_000_000
"""Of an image; a decoded one takes up to four bytes each."""
SECONDS = 30.0
"""That a batch may take; its images are then tried one by one."""
START_SECONDS = 300.0
"""For a process to load the model."""
STARTS = 3
"""Processes that may die, one after the other, while they load the model."""
Question = Literal["classify", "heatmap"]
"""classify: bytes of image files -> {label, confidence, probabilities} or {error} each. heatmap: -> PNG bytes each."""


class Died(Exception):  # noqa: N818  # no mistake of the user
    """The process ended, or did not answer in time, while it had a batch; a new one has been started."""


class Worker:
    """A process with the model; it is replaced when it dies."""

    def __init__(self, folder: Path) -> None:
        """Start the process with the model in a folder, see classifier.save.

        Raises:
            ServerError: the process cannot load it.
        """
        self._folder = folder
        self.restarts = -1
        self._start()

    def _start(self) -> None:
        for _ in range(STARTS):
            self.restarts += 1
            ours, theirs = get_context("spawn").Pipe()
            self._connection = ours
            self._process = get_context("spawn").Process(target=_run, args=(theirs, self._folder), daemon=True)
            self._process.start()
            theirs.close()
            try:
                if not ours.poll(START_SECONDS):
                    self.close()
                    raise ServerError(f"the model was not loaded within {START_SECONDS:g} s; is the machine busy?")
                if (problem := ours.recv()) is not None:
                    raise ServerError(str(problem))
            except EOFError:
                self.close()
                continue
            return
        raise ServerError(f"the process that loads the model died {STARTS} times; is there memory for it?")

    def run(self, question: Question, images: Sequence[bytes]) -> list[Any]:
        """Give the process a batch, and wait for its results.

        Raises:
            Died: it gives none.
        """
        try:
            self._connection.send((question, images))
            if self._connection.poll(SECONDS):
                results: list[Any] = self._connection.recv()
                return results
        except (EOFError, OSError):
            pass
        self.close()
        self._start()
        raise Died

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _run(connection: Connection, folder: Path) -> None:
    """Answer batches until the other end is closed, also by the death of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the server ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from PIL import Image

    from imagetrail.errors import ImagetrailError
    from imagetrail.model import classifier, devices
    from imagetrail.predict import outputs
    from imagetrail.predict.classify import classify

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    try:
        model, device = classifier.load(folder), devices.choose("auto")
        list(classify(model, [("", b"")], device))
    except ImagetrailError as error:
        connection.send(str(error))
        return
    connection.send(None)
    while True:
        try:
            question, images = connection.recv()
        except EOFError:
            return
        results: list[Any]
        if question == "heatmap":
            results = [_heatmap(model, image) for image in images]
        else:
            found = classify(model, ((str(number), image) for number, image in enumerate(images)), device)
            results = [outputs.fields(prediction) for prediction in found]
        try:
            connection.send(results)
        except OSError:
            os._exit(0)  # the server is gone


def _heatmap(model: Any, image: bytes) -> bytes | dict[str, str]:
    """Return the model's view of an image under the heatmap of its answer, as a PNG; or why there is none."""
    import numpy as np
    import torch
    from PIL import Image

    from imagetrail import drawing
    from imagetrail.model.heatmaps import heatmaps
    from imagetrail.preprocess import decode

    try:
        pixels = decode.decode(image, model.card.form).pixels[np.newaxis]
        device = next(model.parameters()).device
        with torch.inference_mode():
            codes = model(torch.from_numpy(pixels).to(device)).argmax(dim=1).cpu().numpy()
        heat = heatmaps(model, pixels, codes)
        model.to(device)
    except DataError as error:
        return {"error": str(error)}
    buffer = io.BytesIO()
    Image.fromarray(drawing.heated(drawing.for_display(pixels), heat)[0]).save(buffer, "PNG")
    return buffer.getvalue()
