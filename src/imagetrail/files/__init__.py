"""The files that stages hand to each other: paths, formats, and atomic writes.

artifacts.py  paths, tables and JSON files
arrays.py     .npy files, written row by row and read as memory maps
form.py       the form that every image is converted to

May import: errors, console.
"""
