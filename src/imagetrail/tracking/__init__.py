"""MLflow: one run a training, complete and readable. Nothing else imports mlflow, and nothing here decides.

stages.py        the functions that stages call: log a training, add its evaluation, rebuild a lost run
store.py         the choice of the store, and its creation
run.py           a run that never stops the training it describes
calls.py         what is logged, as values
outbox.py        calls that the store did not accept, sent later
contents.py      the contents of a run, logged from the stages' files
logged_model.py  log the model, and read its weights back
image_model.py   what MLflow loads: image files in, labels out
tags.py          the tags of runs
registry.py      other runs, and registered models
record.py        a run read back from the store
report_page.py   the logged copy of plots/report.html
shared_view.py   the columns and the order of the runs that our link opens
outcome.py       the figures in a sentence, and where the runs are
move.py          copy a local store into a server's database

May import: errors, console, addresses, git, files, params, model, train, evaluate, predict,
compare.
"""
