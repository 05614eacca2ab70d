"""`imagetrail server`: MLflow on its own PostgreSQL.

May import: errors, console, files, tracking.
"""
