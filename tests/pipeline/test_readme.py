"""Every command in README works, in the order of the page."""

import csv
import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clones import MAKE, free_port, run, server, write_photos
from support import REPOSITORY, Web, answer, git

from imagetrail.params import overrides
from stages import download, evaluate, preprocess, split, train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

README = (REPOSITORY / "README.md").read_text()
SECTIONS = {
    part.partition("\n")[0].lower(): re.findall(r"^```bash\n(.*?)^```", part, re.M | re.S)
    for part in re.split(r"^##? ", README, flags=re.M)
}


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


DATA = re.findall(r"^```bash\n(dvc exp run .*?)^```", (REPOSITORY / "docs/data.md").read_text(), re.M | re.S)
"""Examples of docs/data.md whose parameters DVC applies, and whose stages then run in this process."""


@pytest.mark.parametrize("line", DATA, ids=lambda line: line[15:38])
def test_readme_data_examples_run(root: Path, line: str, web: Web) -> None:
    source = root / "data/source"
    prepare_source(source, re.search(r"download\.source=(\w+)", line).group(1))
    if "archive" in line:
        packed = Path(shutil.make_archive(str(root / "pets"), "zip", source))
        web.answers = [answer(packed.read_bytes())]
        shutil.rmtree(source)
        source.mkdir()
    values = re.findall(r"-S (\S+)", line.replace("https://example.org", web.address))
    overrides.apply(root, [f"++{value}" for value in values])
    for stage in (download, preprocess, split, train, evaluate):
        stage.main(root)
    assert json.loads((root / "metrics/test.json").read_text())["n"] > 0


@pytest.mark.parametrize("section", [name for name, blocks in SECTIONS.items() if blocks])
def test_readme_commands_run(reproduced: Path, section: str) -> None:
    """The commands of a section follow each other in one clone."""
    commands = "".join(SECTIONS[section])
    if "imagetrail init" in commands:
        prepare_source(reproduced / "data/source", "csv")
    for line in commands.splitlines():
        if line == "make test":
            continue  # these tests
        if line == "mlflow ui":
            port = free_port()
            command = (*line.split(), "--port", str(port), "--workers", "1")
            with server(reproduced, *command, port=port, url=f"http://127.0.0.1:{port}/health"):
                continue
        run(reproduced, "bash", "-c", line.replace("make ", f"{' '.join(MAKE)} "))


def test_links_resolve() -> None:
    for page in [REPOSITORY / "README.md", *REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_shows_the_output_of_make_repro(first_repro: tuple[Path, str]) -> None:
    shown = re.search(r"^```\n(\w+ reached.*?)^```", README, re.M | re.S).group(1)
    printed = first_repro[1][first_repro[1].index(" reached") :].splitlines()
    assert shown.splitlines()[1:] == printed[1:]


def test_readme_shows_the_committed_figures() -> None:
    """Not those of this machine, on which the last bits can differ and with them a figure."""
    test = json.loads(git(REPOSITORY, "show", "HEAD:metrics/test.json"))
    figures = re.search(r"reached test accuracy (.*) on (.*) images \(loss (.*), macro F1 (.*), .* (.*)\)", README)
    assert figures.groups() == tuple(
        str(test[name]) if name == "n" else f"{test[name]:.4f}" for name in ("accuracy", "n", "loss", "macro_f1", "ece")
    )
