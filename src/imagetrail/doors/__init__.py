"""The entry points: `imagetrail …` (cli.py), `make repro` (repro.py) and `mlflow run` (mlflow_run.py).

May import: everything.
"""
