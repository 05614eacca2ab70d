"""Stage `preprocess`: data/raw -> data/tensors, plots/data.png, plots/findings.png.

Run from the repository root: python -m stages.preprocess
"""

from pathlib import Path

from imagetrail.errors import guard
from imagetrail.files import artifacts
from imagetrail.params.load import load_params
from imagetrail.preprocess import build, data_page, readers


def main(root: Path = Path()) -> None:
    """Decode every image into one array."""
    params = load_params(root)
    source = artifacts.read_source(root)
    reader = readers.open_reader(root, source, params.download.path)
    size, expected = build.sizes(root, reader, params.preprocess)
    request = build.BuildPlan(
        source=source,
        reader=reader,
        form=params.preprocess.form(size),
        expected=expected,
        max_rejected=params.preprocess.max_rejected,
        on_conflict=params.preprocess.on_conflict,
        limits=params.preprocess.limits,
        machine=params.machine,
    )
    sizes = build.build(root, request)
    data_page.draw(root / artifacts.PLOTS / "data.png", root, sizes)
    data_page.draw_findings(root / artifacts.PLOTS / "findings.png", root)


if __name__ == "__main__":
    guard(main)
