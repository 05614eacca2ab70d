"""What stages hand to each other: where it lies, what it holds, how it is written whole or not at all.

artifacts.py  the places, tables and JSON files
arrays.py     .npy files, written row by row and read as memory maps
form.py       what every image is turned into

May import: errors, console.
"""
