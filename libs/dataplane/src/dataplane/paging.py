"""Pages of lists, and the opaque tokens between them."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload
from uuid import UUID

from servicekit.call import current_call
from servicekit.errors import PageTokenInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_SIZE = 50

PAGE_BYTES = 1 << 20
"""What the texts of a page come to at most: clients take 4 MiB unless told otherwise."""

JSON_PAGE_BYTES = 128 << 10
"""What the JSON values of a page come to at most: each is made into a message on the loop."""

_LARGEST = 2**63 - 1  # of a bigint

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class Row(Protocol):
    """A row of a table, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...  # noqa: ANN401 - of whatever type it is


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the token of the page after them; empty at the end."""

    items: tuple[T, ...]
    next_token: str


def page(rows: Sequence[R], limit: int, item: Callable[[R], T], *sorted_by: str) -> Page[T]:
    """Make a page of the first `limit` rows; one more tells that there is a next page.

    The rows are in the order of the columns `sorted_by`, which no two of them have in common.
    """
    items = tuple(map(item, rows[:limit]))
    if len(rows) <= limit:
        return Page(items, "")
    return Page(items, encode(*(rows[limit - 1][column] for column in sorted_by)))


def within_bytes(rows: str, order: str, size: str, limit: int) -> str:
    """Return SQL for those first ones of `rows`, a query, that come to few bytes together.

    `order` sorts them, `size` is the bytes of one by its columns. One row is returned however large
    it is; a row is left out where those before it have `limit` bytes. `page_within_bytes` reads it.
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
    """Make a page as `page` does, of what a query by `within_bytes` returned."""
    items = tuple(map(item, rows[:limit]))
    if not rows or len(items) == rows[0]["rows_found"]:
        return Page(items, "")
    return Page(items, encode(*(rows[len(items) - 1][column] for column in sorted_by)))


def encode(*keys: int | str | datetime | UUID) -> str:
    """Make the token of the page that begins after the item with these sort keys."""
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

    `kinds` are the keys' types, int (a bigint to PostgreSQL) when none is given. A token is no
    secret and no seal: what it leads to is what its caller may read anyway. Raises
    PageTokenInvalid for what is no token, or holds what PostgreSQL would not take.
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
    """Tie a token to its method, so that another method's is refused and not misread."""
    call = current_call()
    method = call.method.path if call is not None and call.method is not None else ""
    return zlib.crc32(body, zlib.crc32(method.encode())).to_bytes(4, "big")


def _key(kind: type[Any], key: object) -> object:
    """Return a sort key that PostgreSQL takes: whoever makes a token up may write anything."""
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
