"""MLflow: one run a training, complete and readable. Nothing else imports mlflow, and nothing here decides.

stages.py        what the stages call: log a training, add its evaluation, rebuild a lost run
store.py         which store, and its first start
run.py           a run that never stops the training it describes
calls.py         what is logged, as data
outbox.py        what a store did not accept, kept and sent later
contents.py      what a run holds, logged from the files that the stages wrote
logged_model.py  the model as MLflow keeps it
tags.py          the tags of runs
registry.py      other runs, and registered models
record.py        what the store holds of a run, read back
move.py          a local store copied into a server's database

May import: errors, console, addresses, git, files, params, model, train, evaluate, compare.
"""
