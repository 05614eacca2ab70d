"""`imagetrail sweep`: train many times on the same rows and compare on validation rows; the test rows are not touched.

study.py   the sweep as a whole: workers, its run in MLflow, the winner
space.py   what is tried: a file of sweeps/
folds.py   the rows of cross-validation
trial.py   one training
worker.py  a process that runs trials until there are enough
charts.py  optimisation history and parameter importance

May import: addresses, errors, console, programs, drawing, files, params, split, model, train, tracking.
"""
