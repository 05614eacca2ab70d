"""`imagetrail predict`: answers for image files, decoded as `preprocess` decodes them.

May import: errors, console, files, preprocess, model, evaluate.
"""
