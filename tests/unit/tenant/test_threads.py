"""What a thread opens is closed, also when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import IO, TYPE_CHECKING

import pytest

from tenant.threads import completed, opened

if TYPE_CHECKING:
    from pathlib import Path


async def test_what_was_opened_is_returned_open(tmp_path: Path) -> None:
    with await opened(partial((tmp_path / "file").open, "wb"), IO.close) as file:
        assert not file.closed


async def test_what_is_opened_after_a_cancellation_is_closed() -> None:
    begun, may_go_on, closed = threading.Event(), threading.Event(), asyncio.Event()

    def slow() -> str:
        begun.set()
        may_go_on.wait()
        return "open"

    def close(what: str) -> None:
        assert what == "open"
        closed.set()

    opening = asyncio.create_task(opened(slow, close))
    await asyncio.to_thread(begun.wait)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not closed.is_set()
    may_go_on.set()
    await closed.wait()


async def test_a_call_has_ended_when_the_cancellation_of_who_waits_for_it_is_raised() -> None:
    begun, may_go_on, done = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        may_go_on.wait()
        done.set()

    waiting = asyncio.create_task(completed(slow))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert done.is_set()


async def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await opened(partial((tmp_path / "file").open, "rb"), IO.close)
