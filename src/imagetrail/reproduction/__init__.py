"""`imagetrail reproduce`: a logged run, made again from what the store holds of it, and compared with itself.

checkout.py      its code and parameters, in a worktree of git
environment.py   a Python with the packages that it had
rerun.py         the stages, or the part of a sweep, that made it
verdict.py       two records of a run compared
reproduce.py     all of it
"""
