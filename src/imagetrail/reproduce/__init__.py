"""`imagetrail reproduce`: repeat a logged run from its record in the store, and compare the two.

repeat.py       the whole of it
checkout.py     the run's code and parameters, in a git worktree
environment.py  a Python with the run's packages
rerun.py        the stages, or the part of a sweep, that made it
verdict.py      the comparison

May import: errors, console, programs, git, files, params, tracking.
"""
