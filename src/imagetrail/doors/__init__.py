"""The entry points: `imagetrail …` (cli.py), `make repro` (repro.py) and `mlflow run` (mlflow_run.py).

repair.py fixes what a killed DVC left, before the next one starts; committed.py compares its outputs with the commit's.

May import: everything.
"""
