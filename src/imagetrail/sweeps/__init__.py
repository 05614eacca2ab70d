"""Many trainings of one data set, compared on validation rows; the test rows are not touched.

space.py     what is tried: a file of sweeps/
folds.py     the rows of cross-validation
trial.py     one training
worker.py    a process that runs trials until there are enough
study.py     the sweep as a whole: workers, its run in MLflow, the winner
"""
