"""Copy a local SQLite store into a server's database; runs keep their ids.

MLflow creates the schema; rows are copied table by table. Paths below mlruns/ become `mlflow-artifacts:/`, the root of
a server's artifacts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagetrail.console import progress
from imagetrail.errors import ServerError
from imagetrail.files import artifacts
from imagetrail.tracking import store

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData, Table

SERVED = "mlflow-artifacts:/"
VERSIONS = "alembic_version"
"""Table with the version of the schema."""
NEW = {VERSIONS, "experiments", "workspaces"}
"""Tables in which a new database has one row: the version, and the experiment Default."""
ROWS = 5000
"""Rows copied at once."""


def move(root: Path, database: str) -> int:
    """Copy the local store into an empty database, and return its number of runs.

    Args:
        root: the repository's root, with mlflow.db.
        database: the server's, as SQLAlchemy writes it: postgresql+psycopg://mlflow@db.example.org/mlflow.

    Raises:
        ServerError: there is no local store, the database cannot be reached or is in use, or the two are of different
            versions of MLflow. The database then holds MLflow's empty tables at most.
    """
    import sqlalchemy

    workspace = artifacts.workspace(root)
    if not (workspace / store.DATABASE).is_file():
        raise ServerError(f"{workspace / store.DATABASE} does not exist, so there is nothing to move.")
    with (
        _named(database),
        _prepared(database) as target,
        sqlalchemy.create_engine(store.local(workspace)).connect() as source,
    ):
        tables = sqlalchemy.MetaData()
        tables.reflect(target)
        _check(source, target, tables, database)
        mlruns = store.artifacts_address(workspace.resolve())
        ordered = [table for table in tables.sorted_tables if table.name != VERSIONS]
        for table in reversed(ordered):
            target.execute(table.delete())  # the experiment Default, and the like
        for table in progress(ordered, total=len(ordered), description="move", unit="table"):
            _copy(source, target, table, mlruns)
            _continue_counting(target, table)
        _check_places(target, tables)
        return int(
            target.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(tables.tables["runs"])).scalar_one()
        )


@contextmanager
def _named(database: str) -> Iterator[None]:
    """Turn exceptions of SQLAlchemy and MLflow into one sentence."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    from imagetrail.addresses import reason, shown

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise ServerError(f"{shown(database)} cannot take the store ({reason(error)}).") from error


@contextmanager
def _prepared(database: str) -> "Iterator[Connection]":
    """Open a transaction in a database that has MLflow's tables."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(database)
    engine.connect().close()  # MLflow would try for minutes
    store.create_tables(database, SERVED)
    with engine.begin() as connection:
        yield connection


def _check(source: "Connection", target: "Connection", tables: "MetaData", database: str) -> None:
    import sqlalchemy

    from imagetrail.addresses import shown

    ours, theirs = (c.execute(sqlalchemy.select(tables.tables[VERSIONS])).scalar_one() for c in (source, target))
    if ours != theirs:
        raise ServerError(
            f"mlflow.db has a schema of another MLflow ({ours}) than the database ({theirs}); bring the older one up "
            "with `mlflow db upgrade`."
        )
    for table in tables.sorted_tables:
        rows = target.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar_one()
        if rows > (table.name in NEW):
            raise ServerError(
                f"{shown(database)} has {table.name} already; a store can only be moved into an empty database."
            )


def _copy(source: "Connection", target: "Connection", table: "Table", mlruns: str) -> None:
    import sqlalchemy

    columns = [column for column in table.columns if column.computed is None]
    rows = source.execution_options(yield_per=ROWS).execute(sqlalchemy.select(*columns))
    for part in rows.mappings().partitions():
        target.execute(table.insert(), [{name: _served(value, mlruns) for name, value in row.items()} for row in part])


def _served(value: Any, mlruns: str) -> Any:
    """Translate a path below mlruns/ to its address on a server; return anything else unchanged."""
    for prefix in (f"file://{mlruns}", mlruns):
        if isinstance(value, str) and (value == prefix or value.startswith(f"{prefix}/")):
            return SERVED + value.removeprefix(prefix).lstrip("/")
    return value


def _continue_counting(target: "Connection", table: "Table") -> None:
    """Continue the database's own ids after those that were copied."""
    import sqlalchemy

    for column in table.primary_key:
        sequence = sqlalchemy.func.pg_get_serial_sequence(table.name, column.name)
        highest = sqlalchemy.select(sqlalchemy.func.max(column)).scalar_subquery()
        if column.autoincrement is True or "nextval" in str(getattr(column.server_default, "arg", "")):
            target.execute(sqlalchemy.select(sqlalchemy.func.setval(sequence, highest)).where(highest.is_not(None)))


def _check_places(target: "Connection", tables: "MetaData") -> None:
    import sqlalchemy

    experiments = tables.tables["experiments"].c
    for name, place in target.execute(sqlalchemy.select(experiments.name, experiments.artifact_location)):
        if not place.startswith(SERVED):
            raise ServerError(
                f"the experiment {name!r} keeps its artifacts in {place}, not in mlruns/; copy it there first."
            )
