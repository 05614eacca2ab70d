"""Stage `evaluate`: measure the model on the test rows.

inference.py  predictions for the test rows
answers.py    plots/predictions.*: the predictions as files
metrics.py    metrics/test.json; a new metric goes here
pictures.py   curves, confusion matrix, samples and mistakes
paired.py     two models on the same images: intervals and McNemar's test
gate.py       the limits that a model must meet

May import: errors, console, drawing, files, params, model.
"""
