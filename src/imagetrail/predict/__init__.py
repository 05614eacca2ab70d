"""`imagetrail predict`: classify image files, decoded as `preprocess` decodes them.

May import: errors, console, files, download, preprocess, model, evaluate.
"""
