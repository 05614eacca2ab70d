"""The workflow for pull requests: the script that it calls, and that it calls what is there."""

import json
import re
import sys
from pathlib import Path

import pytest
from clones import run
from ruamel.yaml import YAML
from support import REPOSITORY, git


def test_the_pull_request_workflow_calls_existing_files() -> None:
    tree = YAML(typ="safe").load((REPOSITORY / ".github/workflows/pipeline.yml").read_text())
    commands = [step["run"] for step in tree["jobs"]["repro"]["steps"] if "run" in step]
    assert commands[0] == "make repro"
    (script,) = re.findall(r"\S+\.py", commands[1])
    assert (REPOSITORY / script).is_file()
    assert commands[2].endswith(commands[1].rpartition("> ")[2])


def test_the_test_workflow_runs_ci_on_both_pythons() -> None:
    job = YAML(typ="safe").load((REPOSITORY / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[-1] == "bash .ci/run"
    assert (REPOSITORY / ".ci/run").read_text().splitlines()[-3:] == ["make check", "make repro", "make test"]


@pytest.mark.slow
def test_the_report_contains_figures_parameters_and_pictures(reproduced: Path) -> None:
    base = git(reproduced, "rev-parse", "HEAD").strip()
    before = json.loads((reproduced / "metrics/test.json").read_text())["accuracy"]
    script = (sys.executable, ".github/report.py", base)
    assert run(reproduced, *script).stdout.count("No difference.") == 2
    run(reproduced, "git", "checkout", "--quiet", "-b", "idea")
    text = (reproduced / "params.yaml").read_text()
    (reproduced / "params.yaml").write_text(text.replace("epochs: 20", "epochs: 1"))
    run(reproduced, "dvc", "repro")
    run(reproduced, "git", "commit", "--quiet", "-am", "an idea")
    report = run(reproduced, *script).stdout
    after = json.loads((reproduced / "metrics/test.json").read_text())["accuracy"]
    (line,) = [line for line in report.splitlines() if re.search(r"test\.json\s*\|\s*accuracy\b", line)]
    cells = [cell.strip() for cell in line.split("|")]
    assert [float(cell) for cell in cells[3:5]] == pytest.approx([before, after], abs=1e-5)
    assert re.search(r"params\.yaml\s*\|\s*train\.epochs\s*\|\s*20\s*\|\s*1\s*\|", report)
    pictures = re.findall(r"!\[\w+\]\((.+)\)", report)
    assert len(pictures) == 4
    assert all((reproduced / picture).is_file() for picture in pictures)
