"""Run the tour from top to bottom and save it with its pictures: `make notebook`."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

TOUR = Path(__file__).parent / "CNN.ipynb"


def run(path: Path) -> NotebookNode:
    """A notebook with its outputs, and without the times and versions that would differ at each run."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(TOUR.parent)}}).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


if __name__ == "__main__":
    nbformat.write(run(TOUR), TOUR)
