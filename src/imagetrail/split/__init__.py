"""Stage `split`: choose the rows that train, validate and test.

splits.py      what the data states or the parameters ask for, and what must stay together
stratified.py  draw rows class by class

May import: errors, console, files, params.
"""
