"""What a caller is told when a database fails: whatever says nothing about the statement itself.

asyncpg has no class for "the connection is gone". The server may say so with many codes, a socket
with many errors, and the event loop with a RuntimeError. So what decides is how the session is
afterwards, and for the rest the class of the SQLSTATE.
"""

from __future__ import annotations

from typing import TypeAlias

import asyncpg

from servicekit.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    DomainError,
    ValueUnstorable,
)

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

STATEMENT_SECONDS = 30

_ENDED_SEVERITIES = ("FATAL", "PANIC")
# Of SQLSTATE: connection exceptions, too few resources, an operator, the server's own system.
_AWAY_CLASSES = ("08", "53", "57", "58")
_AWAY = (
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # what was the primary server is one no more
)
_AGAIN = (
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidCachedStatementError,  # a migration has just changed a table
    asyncpg.OutdatedSchemaCacheError,
)
_NOT_TEXT = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


def is_away(error: BaseException, connection: _Connection) -> bool:
    """Tell whether the connection is of no use any more, or the server cannot do what it could."""
    if isinstance(error, DomainError | asyncpg.QueryCanceledError) or not isinstance(
        error, Exception
    ):
        return False
    if connection.is_closed() or isinstance(error, _AWAY):
        return True
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        severity = getattr(error, "severity_en", None)
        return severity in _ENDED_SEVERITIES or state[:2] in _AWAY_CLASSES
    protocol_broken = isinstance(error, asyncpg.InternalClientError)
    return protocol_broken and not isinstance(error, asyncpg.OutdatedSchemaCacheError)


def told(error: BaseException, connection: _Connection) -> DomainError | None:
    """Return what a caller is told; None for an error that is no failure of the database's."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return DeadlineExceeded(f"a statement took longer than {STATEMENT_SECONDS} s")
    if is_away(error, connection):
        return DatabaseUnavailable("the connection to the database was lost")
    if isinstance(error, _AGAIN):
        return DatabaseUnavailable("the transaction collided with another one")
    if isinstance(error, _NOT_TEXT):
        return ValueUnstorable("a text holds U+0000, which cannot be stored")
    return None
