"""Every command in README works, in the order of the page."""

import csv
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clones import MAKE, free_port, run, server, write_photos
from support import REPOSITORY, Web, answer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

README = (REPOSITORY / "README.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)]


def prepare_source(source: Path, name: str) -> None:
    """Photographs in the form that an example is about."""
    images = source / "images"
    images.mkdir()
    write_photos(images, names=("image", "label"))
    with (images / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if name == "csv":
        shutil.move(images / "photos.csv", source / "labels.csv")
        return
    if name == "parquet":
        data = [{"bytes": (images / row["image"]).read_bytes(), "path": row["image"]} for row in rows]
        pq.write_table(pa.table({"image": data, "label": [row["label"] for row in rows]}), source / "photos.parquet")
    else:
        for row in rows:
            target = source / row["label"] / Path(row["image"]).name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(images / row["image"], target)
    shutil.rmtree(images)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda lines: lines[-1][:40])
def test_commands(reproduced: Path, block: list[str], web: Web) -> None:
    source = reproduced / "data/source"
    match re.search(r"download\.source=(\w+)", block[0]):
        case re.Match() as named:
            prepare_source(source, named[1])
            packed = (
                shutil.make_archive(str(reproduced.parent / "pets"), "zip", source) if named[1] == "archive" else None
            )
        case None:
            packed = None
    if packed is not None:
        web.answers = [answer(Path(packed).read_bytes())]
        for folder in source.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
    for line in (line.replace("https://example.org", web.address) for line in block):
        if line == "make test":
            continue  # these tests
        if line == "mlflow ui":
            port = free_port()
            command = (*line.split(), "--port", str(port))
            with server(reproduced, *command, port=port, url=f"http://127.0.0.1:{port}/health"):
                continue
        run(reproduced, "bash", "-c", line.replace("make ", f"{' '.join(MAKE)} "))


def test_links_lead_somewhere() -> None:
    for page in [REPOSITORY / "README.md", *REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_what_readme_shows_is_what_make_repro_says(first_repro: tuple[Path, str]) -> None:
    shown = re.search(r"^```\n(\w+ reached.*?)^```", README, re.M | re.S).group(1)
    printed = first_repro[1][first_repro[1].index(" reached") :].splitlines()
    for ours, theirs in zip(shown.splitlines()[1:], printed[1:], strict=False):
        assert ours == theirs
