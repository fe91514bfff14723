"""Statements that build or drop an index beside running writes, outside of a transaction.

They are the only ones of a file with `-- transaction: none`. PostgreSQL refuses them inside a
transaction, so their effect and the record of the file are not committed together: each has to be
one that can run again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INDEX_STATEMENTS = "CREATE INDEX CONCURRENTLY name ON table, DROP INDEX CONCURRENTLY IF EXISTS name"
_NAME = r"([A-Za-z_][A-Za-z0-9_]{0,62})"
_CREATE = re.compile(
    rf"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}"
    rf"\s+ON\s+(?:ONLY\s+)?{_NAME}\s*(?:\(|USING\s)",
    re.IGNORECASE,
)
_DROP = re.compile(rf"DROP\s+INDEX\s+CONCURRENTLY\s+IF\s+EXISTS\s+{_NAME}\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class IndexStatement:
    """CREATE INDEX CONCURRENTLY, or DROP INDEX CONCURRENTLY IF EXISTS."""

    sql: str
    index: str
    """The index's name, as PostgreSQL folds it."""
    table: str
    """The table of an index that is created; empty for a DROP."""

    @classmethod
    def parse(cls, sql: str) -> IndexStatement | None:
        """Read one statement without its semicolon; None if it is neither of the two.

        Names are bare: without quotes and schema.
        """
        created, dropped = _CREATE.match(sql), _DROP.fullmatch(sql)
        if created is not None:
            return cls(sql, created[1].lower(), created[2].lower())
        return None if dropped is None else cls(sql, dropped[1].lower(), "")
