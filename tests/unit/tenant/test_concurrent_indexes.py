from __future__ import annotations

import pytest

from tenant.domain.concurrent_indexes import IndexStatement
from tenant.domain.migrations import Migration, MigrationTarget
from tenant.errors import MigrationInvalid

HEADER = "-- target: tenant\n-- transaction: none\n"


def migration(sql: str) -> Migration:
    return Migration.parse("runs", MigrationTarget.TENANT, 2, "indexes", (), sql)


@pytest.mark.parametrize(
    ("sql", "index", "table"),
    [
        ("CREATE INDEX CONCURRENTLY a_idx ON a (id)", "a_idx", "a"),
        (
            "create unique index concurrently if not exists A_Idx on only A using btree(id)",
            "a_idx",
            "a",
        ),
        ("CREATE INDEX CONCURRENTLY a_idx\n    ON a (id)\n    WHERE id > 1", "a_idx", "a"),
        ("DROP INDEX CONCURRENTLY IF EXISTS a_idx\n", "a_idx", ""),
    ],
)
def test_what_can_run_again_is_read(sql: str, index: str, table: str) -> None:
    assert IndexStatement.parse(sql) == IndexStatement(sql, index, table)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX a_idx ON a (id)",
        "CREATE INDEX CONCURRENTLY ON a (id)",
        'CREATE INDEX CONCURRENTLY "A" ON a (id)',
        "CREATE INDEX CONCURRENTLY a_idx ON public.a (id)",
        "DROP INDEX CONCURRENTLY a_idx",
        "DROP INDEX CONCURRENTLY IF EXISTS a_idx CASCADE",
        "UPDATE counters SET n = n + 1",
        "VACUUM a",
    ],
)
def test_a_file_without_a_transaction_holds_nothing_else(sql: str) -> None:
    with pytest.raises(MigrationInvalid, match="line 3: without a transaction") as error:
        migration(f"{HEADER}{sql};")

    assert error.value.metadata == {"number": "2", "line": "3"}


def test_its_statements_are_run_one_by_one() -> None:
    file = migration(
        f"{HEADER}-- Why.\nDROP INDEX CONCURRENTLY IF EXISTS old;\n"
        "CREATE INDEX CONCURRENTLY new ON a (lower(';'));\n"
    )

    assert not file.transactional
    assert [(s.index, s.table) for s in file.index_statements] == [("old", ""), ("new", "a")]
    assert file.index_statements[1].sql == "CREATE INDEX CONCURRENTLY new ON a (lower(';'))"


def test_other_files_are_applied_in_one_transaction() -> None:
    assert migration("SELECT 1;\n-- transaction: none\n").transactional


def test_a_transaction_can_only_be_left_out() -> None:
    with pytest.raises(MigrationInvalid, match="line 2: `transaction` can only be `none`"):
        migration("-- target: tenant\n-- transaction: maybe\nSELECT 1;")
