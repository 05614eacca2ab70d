"""`imagetrail compare`: runs beside each other, as a table, as JSON and as a page.

May import: errors, console, drawing, files, evaluate.
"""
