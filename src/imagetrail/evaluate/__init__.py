"""Stage `evaluate`: measure the model on the test rows.

evaluation.py  the whole of it: from a model to its figures, answers and pictures
inference.py   predictions for the test rows
answers.py     plots/predictions.*: the predictions as files
explanation.py heatmaps of answers, and the deletion test of them
slices.py      figures for each value of the columns that download.columns keeps
report.py      plots/report.html: all of it on a page
plane.py       plots/map.png: the test images in two dimensions
metrics.py     metrics/test.json; a new metric goes here
pictures.py    curves, confusion matrix, samples and mistakes
paired.py      two models on the same images: intervals and McNemar's test
replicates.py  several trainings of each: intervals over seeds and images
looks.py       how often the same rows have judged models, and what that owes to luck
gate.py        the limits that a model must meet

May import: errors, console, drawing, files, pages, params, model.
"""
