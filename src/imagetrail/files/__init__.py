"""The files that stages hand to each other: paths, formats, and atomic writes.

artifacts.py  the places, tables and JSON files
arrays.py     .npy files, written row by row and read as memory maps
form.py       what every image is turned into

May import: errors, console.
"""
