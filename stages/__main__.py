"""All stages: `python -m stages` is what `make repro` runs, `project` and `sweep` behind it what `mlflow run` runs."""

import sys
from pathlib import Path

from imagetrail.errors import guard

if sys.argv[1:2] == ["project"]:
    from imagetrail import project

    guard(lambda: project.main(Path(), sys.argv[2:]))
elif sys.argv[1:2] == ["sweep"]:
    from imagetrail import cli, overrides

    guard(lambda: cli.run(cli.sweep_arguments(overrides.pairs(sys.argv[2:]))))
else:
    from imagetrail import pipeline

    pipeline.main()
