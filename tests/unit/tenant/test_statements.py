from __future__ import annotations

import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenant.domain.migrations import Migration, MigrationTarget
from tenant.domain.statements import statements
from tenant.errors import MigrationInvalid


def refused(sql: str) -> list[str]:
    return [word for statement in statements(sql) if (word := statement.forbidden_command())]


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("BEGIN; SELECT 1", "BEGIN"),
        ("select 1; commit", "COMMIT"),
        ("SELECT 1;\n\n  end", "END"),
        ("ROLLBACK TO SAVEPOINT a", "ROLLBACK"),
        ("ABORT", "ABORT"),
        ("SAVEPOINT a", "SAVEPOINT"),
        ("RELEASE a", "RELEASE"),
        ("START   TRANSACTION", "START TRANSACTION"),
        ("PREPARE /* x */ TRANSACTION 'a'", "PREPARE TRANSACTION"),
        ("/* /* nested */ ; */ COMMIT", "COMMIT"),
        ("SELECT 'a;b', E'it\\'s; ', $q$;$q$; COMMIT", "COMMIT"),
        ("COPY runs (id) FROM STDIN; 1\n\\.", "COPY STDIN"),
    ],
)
def test_what_a_migration_must_not_hold_is_found(sql: str, word: str) -> None:
    assert refused(sql) == [word]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";;",
        "-- COMMIT;\nSELECT 1",
        "SELECT 'x; COMMIT; y'",
        'SELECT 1 AS "; COMMIT; "',
        "DO $$ BEGIN PERFORM 1; END $$; SELECT 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$ BEGIN RETURN 1; END $body$;",
        "CREATE FUNCTION f(a int) RETURNS int"
        " BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT 1; END;",
        "SELECT a$b$c FROM t; SELECT 1",
        "SELECT $1; PREPARE p AS SELECT 1",
        "SELECT 'unclosed; COMMIT",
        "COPY runs TO '/tmp/x'",
        "CREATE TABLE begin_end (commit INT)",
    ],
)
def test_what_only_looks_like_it_is_let_through(sql: str) -> None:
    assert refused(sql) == []


def test_a_refusal_names_the_line() -> None:
    with pytest.raises(MigrationInvalid, match="line 3: COMMIT") as error:
        Migration.parse("runs", MigrationTarget.TENANT, 2, "drafts", (), "SELECT 1;\n\nCOMMIT;\n")

    assert error.value.metadata == {"number": "2", "line": "3"}


@pytest.mark.parametrize("piece", ["a;", "a ", "a\n;", "/*", "$a$ ", "$a", "''", "e'\\", "--\n"])
def test_a_file_takes_time_in_proportion_to_its_size(piece: str) -> None:
    def seconds(size: int) -> float:
        sql = piece * (size // len(piece))
        began = time.process_time()
        for statement in statements(sql):
            statement.forbidden_command()
        return time.process_time() - began

    small = max(min(seconds(64 << 10) for _ in range(3)), 0.005)

    assert min(seconds(256 << 10) for _ in range(3)) < 8 * small


@pytest.mark.parametrize("piece", ["ab ", "''", "+", "e'a''b' ", "a;"])
def test_a_large_file_is_read_in_little_memory(piece: str) -> None:
    sql = piece * ((1 << 20) // len(piece))
    tracemalloc.start()
    try:
        for statement in statements(sql):
            statement.forbidden_command()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < len(sql) / 4


@pytest.mark.parametrize(
    ("piece", "size"), [("''", 4 << 20), ("+", 64 << 20), ("ab ", 4 << 20), ("e'a''b' ", 4 << 20)]
)
def test_other_threads_run_while_a_large_file_is_read(piece: str, size: int) -> None:
    sql = piece * (size // len(piece))
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        reading = pool.submit(lambda: sum(1 for _ in statements(sql)))
        gaps, last = [0.0], began
        while not reading.done():
            time.sleep(0.0005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    assert max(gaps) < (last - began) / 2
