"""All stages: `python -m stages` is what `make repro` runs, `project` and `sweep` behind it what `mlflow run` runs."""

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
