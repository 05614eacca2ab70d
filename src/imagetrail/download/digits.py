"""`digits`: 1,797 handwritten digits of 8x8 pixels from scikit-learn, so that the first run needs no network.

They are the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).
"""

import hashlib
import io

from PIL import Image

from imagetrail.download.job import SourceJob
from imagetrail.files.artifacts import LabelRow


def load(job: SourceJob) -> list[LabelRow]:
    """Write each digit as a PNG; its 17 grey levels are spread over 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    (job.folder / "images").mkdir()
    rows = []
    for number, (levels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        buffer = io.BytesIO()
        Image.fromarray((levels * 255 / 16).round().astype("uint8")).save(buffer, "PNG")
        name, data = f"digit-{number:04d}.png", buffer.getvalue()
        (job.folder / "images" / name).write_bytes(data)
        rows.append(LabelRow(name, str(label), "", "", str(len(data)), hashlib.sha256(data).hexdigest()))
    return rows
