"""Stage `preprocess`: data/raw -> data/tensors, plots/data.png.

Run from the repository root: python -m stages.preprocess
"""

from pathlib import Path

from imagetrail import artifacts, data_page, readers, tensors
from imagetrail.errors import guard
from imagetrail.images import Form
from imagetrail.params import load_params


def main(root: Path = Path()) -> None:
    """Decode every image into one array."""
    params = load_params(root)
    reader = readers.open_reader(root, params.download.source, params.download.path, params.download.image_column)
    size, expected = tensors.sizes(root, reader, params.preprocess)
    request = tensors.Request(
        source=params.download.source,
        reader=reader,
        form=Form(params.preprocess.channels, size, params.preprocess.short_side),
        expected=expected,
        max_rejected=params.preprocess.max_rejected,
        limits=params.preprocess.limits,
        machine=params.machine,
    )
    sizes = tensors.build(root, request)
    data_page.draw(root / artifacts.PLOTS / "data.png", root, sizes)


if __name__ == "__main__":
    guard(main)
