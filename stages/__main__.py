"""Run all stages: `make repro` calls `python -m stages`, and `mlflow run` adds `project` or `sweep`."""

import sys
from pathlib import Path

from imagetrail.errors import guard

if sys.argv[1:2] == ["project"]:
    from imagetrail.doors import mlflow_run

    guard(lambda: mlflow_run.main(Path(), sys.argv[2:]))
elif sys.argv[1:2] == ["sweep"]:
    from imagetrail.doors import cli
    from imagetrail.params import overrides

    guard(lambda: cli.run(cli.sweep_arguments(overrides.pairs(sys.argv[2:]))))
else:
    from imagetrail.doors import repro

    repro.main()
