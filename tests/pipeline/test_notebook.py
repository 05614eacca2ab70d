"""The tour runs from top to bottom, and is saved with what it shows."""

import nbformat
import pytest
from nbformat import NotebookNode

from notebooks.__main__ import TOUR, run

PICTURES = 8


def kinds(notebook: NotebookNode) -> list[list[str]]:
    """What each cell shows: text, pictures."""
    return [
        [
            kind
            for output in cell.get("outputs", [])
            if output.get("name") != "stderr"  # whose lines depend on the time
            for kind in sorted(output.get("data") or {output.output_type: 0})
        ]
        for cell in notebook.cells
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Jupyter's own
def test_the_notebook_runs_and_is_saved_with_its_pictures() -> None:
    saved, executed = nbformat.read(TOUR, as_version=4), run(TOUR)
    assert kinds(saved) == kinds(executed)
    shown = [kind for cell in kinds(saved) for kind in cell]
    assert shown.count("image/png") == PICTURES
    assert "error" not in shown
    counts = [cell.execution_count for cell in saved.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "saved after one run from top to bottom"
    text = "".join(o.text for cell in saved.cells for o in cell.get("outputs", []) if o.output_type == "stream")
    assert "{'accuracy': 0.99" in text
