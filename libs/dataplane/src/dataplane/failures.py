"""Classification of database failures that say nothing about the statement itself.

asyncpg has no class for a lost connection: the server reports it with many codes, a socket with
many errors, and the event loop with a RuntimeError. So the state of the session decides, and then
the class of the SQLSTATE (PostgreSQL, appendix A).
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
# Connection exception, insufficient resources, operator intervention, system error.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
_UNAVAILABLE = (
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # what was the primary server is one no more
)
_CONFLICTS = (
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidCachedStatementError,  # a migration has just changed a table
    asyncpg.OutdatedSchemaCacheError,
)
_NOT_TEXT = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


def is_unavailable(error: BaseException, connection: _Connection) -> bool:
    """Return whether an error means that the connection is lost or the server cannot serve."""
    if isinstance(error, DomainError | asyncpg.QueryCanceledError) or not isinstance(
        error, Exception
    ):
        return False
    if connection.is_closed() or isinstance(error, _UNAVAILABLE):
        return True
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        severity = getattr(error, "severity_en", None)
        return severity in _ENDED_SEVERITIES or state[:2] in _UNAVAILABLE_CLASSES
    protocol_broken = isinstance(error, asyncpg.InternalClientError)
    return protocol_broken and not isinstance(error, asyncpg.OutdatedSchemaCacheError)


def to_domain_error(error: BaseException, connection: _Connection) -> DomainError | None:
    """Return the error that a caller gets; None for one that concerns the statement itself."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return DeadlineExceeded(f"a statement took longer than {STATEMENT_SECONDS} s")
    if is_unavailable(error, connection):
        return DatabaseUnavailable("the connection to the database was lost")
    if isinstance(error, _CONFLICTS):
        return DatabaseUnavailable("the transaction collided with another one")
    if isinstance(error, _NOT_TEXT):
        return ValueUnstorable("a text holds U+0000, which cannot be stored")
    return None
