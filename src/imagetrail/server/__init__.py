"""`imagetrail server`: MLflow on a PostgreSQL of its own.

May import: errors, console, files, tracking.
"""
