"""`imagetrail sweep`: train many times, to choose by validation rows or to test parameters under several seeds.

study.py     the sweep as a whole: workers, its run in MLflow, the winner
design.py    what the trials are: a search, folds, or replicates under several seeds
space.py     what is tried: a file of sweeps/
folds.py     the rows of cross-validation
held_out.py  the answers of folds for the rows that they did not see
suspects.py  labels that are probably wrong, by these answers
trial.py     one training
worker.py    a process that runs trials until there are enough
charts.py    optimisation history and parameter importance

May import: addresses, errors, console, programs, drawing, files, params, split, model, train, evaluate, pages,
tracking.
"""
