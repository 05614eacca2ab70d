"""MLflow, and nothing else in the package imports it: one run a training, kept readable and complete.

store.py     which store, and its first start
run.py       a run that never stops the training it describes
calls.py     what is said of a run, as data
outbox.py    what a store did not take, kept and sent later
tags.py      what runs are tagged with
contents.py  what a run holds, logged from the files that the stages wrote
models.py    the model as MLflow keeps it
registry.py  other runs, and the registered models
record.py    what the store holds of a run, read back
move.py      a local store copied into a server's database
training.py  the doors for the stages: a run that is trained, evaluated, rebuilt, or stands for another
"""
