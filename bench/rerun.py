"""List the stages that an edit of each package file reruns: `python -m bench.rerun` writes docs/rerun.md."""

from collections import defaultdict
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "rerun.md"
PACKAGE = Path("src/imagetrail")
HEADER = """# What an edit makes rerun

DVC reruns a stage when a file that it depends on changes, including its code. dvc.yaml names rooms and a few single
files, so a comment in a decoder retrains no model. Files of src/imagetrail, by the stages that an edit makes rerun:

"""


def radius() -> dict[tuple[str, ...], list[str]]:
    """Return the package's Python files by the stages that depend on them, from dvc.yaml."""
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = {name: [ROOT / dep for dep in stage["deps"] if dep.startswith("src/")] for name, stage in stages.items()}
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        concerned = tuple(name for name, places in deps.items() if {path, *path.parents} & set(places))
        found[concerned].append(path.relative_to(ROOT / PACKAGE).as_posix())
    return found


def page() -> str:
    """Format the table of docs/rerun.md."""
    found = radius()
    lines = [HEADER + "| stages that rerun | files | which |", "|---|---|---|"]
    for concerned, files in sorted(found.items(), key=lambda item: (-len(item[0]), item[0])):
        rooms = sorted({name.partition("/")[0] + "/" if "/" in name else name for name in files})
        shown = ", ".join(f"`{name}`" for name in (rooms if len(files) > 6 else files))
        lines.append(f"| {', '.join(concerned) or 'none'} | {len(files)} | {shown} |")
    counts = [sum(len(files) for stages, files in found.items() if len(stages) == number) for number in range(6)]
    total = sum(counts)
    summary = ", ".join(f"{count} make {number} rerun" for number, count in enumerate(counts))
    return "\n".join([*lines, "", f"In short, of {total} files: {summary}.", ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
