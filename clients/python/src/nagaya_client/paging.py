"""Iteration over the pages of List methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sized

    from google.protobuf.descriptor import FieldDescriptor

_LARGEST_PAGE = 200


class PageRequest(Protocol):
    """The request of a List method."""

    page_size: int
    page_token: str


class Page(Protocol):
    """The response of a List method."""

    next_page_token: str


RequestT = TypeVar("RequestT", bound=PageRequest)
PageT = TypeVar("PageT", bound=Page)
MessageT = TypeVar("MessageT", bound=Message)


async def pages(
    method: Callable[[RequestT], Awaitable[PageT]], request: RequestT
) -> AsyncGenerator[PageT]:
    """Call a List method until its end and yield each page. Raises ApiError.

    The request's own `page_token` is where it begins, and moves on with the pages.
    """
    while True:
        page = await method(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def first(
    method: Callable[[RequestT], Awaitable[MessageT]], request: RequestT, limit: int
) -> MessageT:
    """Return the first `limit` items as one response; its token tells if there are more.

    Raises ApiError.
    """
    request.page_size = min(limit, _LARGEST_PAGE)
    whole = await method(request)
    page = cast("Page", whole)
    while page.next_page_token and (left := limit - len(_items(whole))) > 0:
        request.page_token = page.next_page_token
        request.page_size = min(left, _LARGEST_PAGE)
        more = await method(request)
        whole.MergeFrom(more)
        page.next_page_token = cast("Page", more).next_page_token
    return whole


def list_field(response: Message) -> FieldDescriptor | None:
    """Return the field that holds the items of a list; None when the response is no list."""
    fields = cast("list[FieldDescriptor]", response.DESCRIPTOR.fields)
    return next((f for f in fields if f.is_repeated and f.message_type is not None), None)


def _items(response: Message) -> Sized:
    field = list_field(response)
    return () if field is None else getattr(response, field.name)
