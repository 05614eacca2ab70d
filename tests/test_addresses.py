"""What people see of addresses and of the errors that hold them."""

from imagetrail.addresses import reason


def test_a_reason_holds_neither_sql_nor_secrets_nor_hints_for_programmers() -> None:
    error = RuntimeError(
        "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block if this flush is "
        "occurring prematurely)\n(sqlite3.OperationalError) attempt to write a readonly database of "
        "postgresql://me:pw@host/db\n[SQL: UPDATE runs]\n[parameters: ('x',)]\n"
        "(Background on this error at: https://sqlalche.me/e/20/e3q8)"
    )
    assert reason(error) == ("(sqlite3.OperationalError) attempt to write a readonly database of postgresql://host/db")
