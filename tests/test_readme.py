"""Every command in README works, in the order in which it stands there."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY
from test_stages import MAKE, first_repro, free_port, reproduced, run, server, write_photos

__all__ = ["first_repro", "reproduced"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

README = (REPOSITORY / "README.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda lines: lines[-1][:40])
def test_commands(reproduced: Path, block: list[str]) -> None:
    source = reproduced / "data/source"
    if any("download.source=csv" in line for line in block):
        (source / "images").mkdir()
        write_photos(source / "images", names=("image", "label"))
        shutil.move(source / "images/photos.csv", source / "labels.csv")
    for line in block:
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
    said = first_repro[1][first_repro[1].index(" reached") :].splitlines()
    for ours, theirs in zip(shown.splitlines()[1:], said[1:], strict=False):
        assert ours == theirs
