"""`imagetrail reproduce`: repeat a logged run from what the store holds of it, and compare the two.

repeat.py       the whole of it
checkout.py     the run's code and parameters, in a git worktree
environment.py  a Python with the packages that it had
rerun.py        the stages, or the part of a sweep, that made it
verdict.py      the comparison

May import: errors, console, programs, git, files, params, tracking.
"""
