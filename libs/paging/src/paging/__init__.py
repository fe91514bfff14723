"""Pages of lists, and opaque page tokens."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, overload
from uuid import UUID

from servicekit.call import current_call
from servicekit.errors import PageTokenInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_SIZE = 50

PAGE_BYTES = 1 << 20
"""The most bytes of text in a page: gRPC clients accept 4 MiB unless configured otherwise."""

JSON_PAGE_BYTES = 128 << 10
"""The most bytes of JSON in a page: each value is made into a message on the event loop."""

_LARGEST = 2**63 - 1  # of a bigint

Value: TypeAlias = "int | str | datetime | UUID"
"""What a list is filtered and sorted by."""

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class Row(Protocol):
    """A row of a table, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...  # noqa: ANN401 - of whatever type it is


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items of a list, and the token of the next page; empty on the last page."""

    items: tuple[T, ...]
    next_token: str


def page(rows: Sequence[R], limit: int, item: Callable[[R], T], *sorted_by: str) -> Page[T]:
    """Make a page of the first `limit` rows; one row more means that there is a next page.

    The rows are sorted by the columns `sorted_by`, which are unique together.
    """
    items = tuple(map(item, rows[:limit]))
    if len(rows) <= limit:
        return Page(items, "")
    return Page(items, encode(*(rows[limit - 1][column] for column in sorted_by)))


def within_bytes(rows: str, order: str, size: str, limit: int) -> str:
    """Return SQL for the first rows of the query `rows` that have few bytes together.

    `order` is its ORDER BY, `size` an expression for the bytes of a row. A row is left out when the
    rows before it have `limit` bytes or more, so that one row is returned however large it is.
    `page_within_bytes` makes the page.
    """
    before = f"sum({size}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - {size}"
    counted = f"SELECT found.*, {before} AS bytes_before, count(*) OVER () AS rows_found"
    return (
        f"SELECT * FROM ({counted} FROM ({rows}) AS found) AS found"  # noqa: S608 - a store's own
        f" WHERE bytes_before < {limit} ORDER BY {order}"
    )


def page_within_bytes(
    rows: Sequence[R], limit: int, item: Callable[[R], T], *sorted_by: str
) -> Page[T]:
    """Make a page as `page` does, of the rows of a query made by `within_bytes`."""
    items = tuple(map(item, rows[:limit]))
    if not rows or len(items) == rows[0]["rows_found"]:
        return Page(items, "")
    return Page(items, encode(*(rows[len(items) - 1][column] for column in sorted_by)))


def where(*filters: tuple[str, Value | tuple[Value, ...] | None]) -> tuple[str, list[Value]]:
    """Return the WHERE clause of those filters whose value is set, and its parameters from $1 on.

    A filter is a condition with `{}` for its value (a tuple: for each of its values) and the value,
    which is not set when it is None. It is a different statement without the filter, since plans
    are made once: one that works with and without it would read the whole table.
    """
    conditions: list[str] = []
    parameters: list[Value] = []
    for condition, value in filters:
        if value is None:
            continue
        values = value if isinstance(value, tuple) else (value,)
        first = len(parameters) + 1
        parameters += values
        conditions.append(condition.format(*(f"${first + n}" for n in range(len(values)))))
    return ("WHERE " + " AND ".join(conditions) if conditions else "", parameters)


def encode(*keys: Value) -> str:
    """Make the token of the page after the item with these sort keys."""
    body = json.dumps([key if isinstance(key, (int, str)) else str(key) for key in keys]).encode()
    return base64.urlsafe_b64encode(_mark(body) + body).decode().rstrip("=")


@overload
def decode(token: str) -> int | None: ...
@overload
def decode(token: str, kind: type[A], /) -> A | None: ...
@overload
def decode(token: str, first: type[A], second: type[B], /) -> tuple[A, B] | None: ...
def decode(token: str, *kinds: type[Any]) -> object:
    """Return the sort key (or keys) in a token of the method being served; None when it is empty.

    `kinds` are the types of the keys; int (bigint) when none is given. A token is neither secret
    nor signed: it gives access to nothing that its caller may not read anyway. Raises
    PageTokenInvalid for what is no token of this method, or holds what PostgreSQL would refuse.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        keys: list[object] = json.loads(raw[4:]) if raw[:4] == _mark(raw[4:]) else []
        values = tuple(_key(kind, key) for kind, key in zip(kinds or (int,), keys, strict=True))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise PageTokenInvalid("the page token was not made by this method") from None
    return values if len(kinds) > 1 else values[0]


def _mark(body: bytes) -> bytes:
    """Return a checksum that ties a token to its method: another method refuses it."""
    call = current_call()
    method = call.method.path if call is not None and call.method is not None else ""
    return zlib.crc32(body, zlib.crc32(method.encode())).to_bytes(4, "big")


def _key(kind: type[Any], key: object) -> object:
    """Return a sort key that PostgreSQL accepts; a made-up token may hold anything."""
    if kind is datetime:
        return _moment(datetime.fromisoformat(str(key)))
    value = UUID(str(key)) if kind is UUID else key
    if type(value) is not kind:
        raise TypeError
    if isinstance(value, str) and "\0" in value.encode().decode():
        raise ValueError
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError
    return value


def _moment(found: datetime) -> datetime:
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)
