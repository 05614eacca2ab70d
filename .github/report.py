"""What a branch changed, as Markdown for a pull request: `python .github/report.py BASE`."""

import subprocess
import sys
from pathlib import Path

PICTURES = ("confusion_matrix", "learning_curves", "mistakes", "data")


def main() -> None:
    """Print figures and parameters that differ from a commit, and the pictures of this run."""
    base = sys.argv[1]
    parts = [f"## Against `{base}`"]
    for title, command in (("Figures", "metrics"), ("Parameters", "params")):
        table = dvc(command, "diff", "--md", base)
        parts += [
            f"### {title}",
            table if len(table.splitlines()) > 2 else "No difference.",
        ]  # DVC prints a bare header
    parts.append("### Pictures")
    parts += [f"![{name}](plots/{name}.png)" for name in PICTURES if Path(f"plots/{name}.png").is_file()]
    print("\n\n".join(parts))


def dvc(*arguments: str) -> str:
    """What DVC prints; its failure is this script's."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main()
