"""`imagetrail compare`: compare runs in a table, in JSON and on a page.

May import: errors, console, drawing, files, pages, model, evaluate.
"""
