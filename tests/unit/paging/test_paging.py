from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from tests.unit.interceptor.probe import SERVICE

import paging
from servicekit.call import CallContext, use_call
from servicekit.errors import PageTokenInvalid
from servicekit.policy import methods_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RUN = UUID("0192f5a0-0000-7000-8000-000000000001")
MOMENT = datetime(2026, 11, 23, 18, 24, tzinfo=UTC)


def test_keys_are_decoded_as_they_were_encoded() -> None:
    assert paging.decode("") is None
    assert paging.decode(paging.encode(7)) == 7
    assert paging.decode(paging.encode("acme"), str) == "acme"
    assert paging.decode(paging.encode(MOMENT, RUN), datetime, UUID) == (MOMENT, RUN)


def test_a_filter_that_is_not_set_is_not_in_the_statement() -> None:
    assert paging.where(("run_id = {}", None), ("id > {}", None)) == ("", [])
    assert paging.where(("run_id = {}", RUN), ("state = {}", None), ("id > {}", 0)) == (
        "WHERE run_id = $1 AND id > $2",
        [RUN, 0],
    )
    assert paging.where(("step = {}", ""), ("(at, id) < ({}, {})", (MOMENT, RUN))) == (
        "WHERE step = $1 AND (at, id) < ($2, $3)",
        ["", MOMENT, RUN],
    )
    assert paging.where(("a = {}", 1), ("b >= {0} AND (b > {0} OR c < {1})", ("x", 2))) == (
        "WHERE a = $1 AND b >= $2 AND (b > $2 OR c < $3)",
        [1, "x", 2],
    )


def test_a_page_ends_with_a_token_when_a_row_more_than_asked_for_is_there() -> None:
    rows = [{"step": "draft", "version": number} for number in (3, 2, 1)]

    def version(row: Mapping[str, object]) -> object:
        return row["version"]

    assert paging.page(rows, 3, version, "step", "version") == paging.Page((3, 2, 1), "")
    first = paging.page(rows, 2, version, "step", "version")
    assert first.items == (3, 2)
    assert paging.decode(first.next_token, str, int) == ("draft", 2)
    assert paging.page([], 2, version, "step") == paging.Page((), "")


MISREAD: dict[str, Callable[[], object]] = {
    "nonsense": lambda: paging.decode("nonsense"),
    "not ASCII": lambda: paging.decode("äöü"),
    "too short": lambda: paging.decode("AAAA"),
    "a text for a number": lambda: paging.decode(paging.encode("acme")),
    "a number for a text": lambda: paging.decode(paging.encode(7), str),
    "one key for two": lambda: paging.decode(paging.encode(7), datetime, UUID),
    "cut": lambda: paging.decode(paging.encode(7)[:-1]),
    "a number that no bigint holds": lambda: paging.decode(paging.encode(2**63)),
    "a text with U+0000": lambda: paging.decode(paging.encode("a\0"), str),
    "half a character": lambda: paging.decode(paging.encode("\ud800"), str),
    "a time of no zone": lambda: paging.decode(paging.encode("2026-11-23T18:24"), datetime),
    "a time before all": lambda: paging.decode(paging.encode("0001-01-01T00:00+23:59"), datetime),
    "a text for an id": lambda: paging.decode(paging.encode("acme"), UUID),
    "a text for a time": lambda: paging.decode(paging.encode("acme"), datetime),
}


@pytest.mark.parametrize("misread", MISREAD)
def test_what_is_no_token_of_these_keys_is_refused(misread: str) -> None:
    with pytest.raises(PageTokenInvalid):
        MISREAD[misread]()


def test_a_token_is_good_for_its_own_method_only() -> None:
    methods = methods_of(SERVICE)
    with use_call(CallContext(method=methods["Ask"])):
        token = paging.encode(7)
        assert paging.decode(token) == 7
    with use_call(CallContext(method=methods["Watch"])), pytest.raises(PageTokenInvalid):
        paging.decode(token)
