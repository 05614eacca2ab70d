"""Classify new images, decoded as `preprocess` decodes them: `imagetrail predict`, the server and the logged model.

classify.py  images in, predictions out, in their order: threads decode while the network computes
inputs.py    find the images that a command names: files, folders, patterns, tables, standard input
outputs.py   write predictions: a table for people, JSON Lines, CSV or Parquet for programs

May import: errors, console, files, params, download, preprocess, model, evaluate.
"""
