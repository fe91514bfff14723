from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

import pytest
from tests.unit.interceptor.probe import Answer, Request, Stub, binding, echo

from interceptor.testing import serve
from servicekit import logs
from servicekit.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servicekit.testing import Keys


class Written:
    """What has been written, a JSON object for each line."""

    def __init__(self) -> None:
        self._text = ""
        self.writer = logs.LineWriter(self._write)

    def _write(self, text: str) -> None:
        self._text += text

    def lines(self) -> list[dict[str, object]]:
        self.writer.close()
        return [json.loads(line) for line in self._text.splitlines()]


@pytest.fixture
def written() -> Iterator[Written]:
    written = Written()
    handler = logs.JsonHandler("probe", written.writer)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_record_is_one_line_of_json_whatever_is_in_it(written: Written) -> None:
    logging.getLogger("somewhere").warning("two\nlines %s", 'a "quote"', extra={"run": "7\r\n"})

    (line,) = written.lines()
    assert line["message"] == 'two\nlines a "quote"'
    assert (line["level"], line["logger"], line["service"]) == ("warning", "somewhere", "probe")
    assert line["run"] == "7\r\n"


def test_no_extra_field_replaces_what_every_line_says_of_its_origin(written: Written) -> None:
    fields = {"time": "then", "level": "low", "service": "another", "logger": "none", "run": "7"}
    logging.getLogger("somewhere").warning("moved", extra=fields)

    (line,) = written.lines()
    assert (line["level"], line["logger"], line["service"]) == ("warning", "somewhere", "probe")
    assert line["time"] != "then"
    assert line["run"] == "7"


def test_an_error_is_logged_with_its_cause_and_little_of_its_message(written: Written) -> None:
    body = "secret " * 1000
    try:
        try:
            raise ValueError(f"cannot read\nDETAIL: {body}")
        except ValueError as cause:
            raise RuntimeError(f"failed: {body}") from cause
    except RuntimeError:
        logging.getLogger("somewhere").exception("failed")

    (line,) = written.lines()
    story = str(line["exception"])
    assert "ValueError: cannot read\nwhich led to" in story
    assert "RuntimeError: failed: secret" in story
    assert "test_logs.py" in story
    assert story.count("secret") < 40


async def test_a_call_leaves_one_line_and_no_body(keys: Keys, written: Written) -> None:
    async def answer(request: Request, _: object) -> Answer:
        if request.text == "absent":
            raise NotFound("nothing of the kind")
        return Answer(text="a canary of a reply")

    async with serve(keys, binding(Ask=answer)) as running:
        stub = Stub(running.channel(user_id='ada"\n'))
        await stub.ask(Request(tenant_id="acme", text="canary"))
        with pytest.raises(NotFound):
            await stub.ask(Request(tenant_id="acme", text="absent"))

    good, bad = [line for line in written.lines() if line["logger"] == "call"]
    assert (good["code"], good["method"]) == ("OK", "nagaya.probe.v1.ProbeService/Ask")
    assert (good["tenant_id"], good["user_id"]) == ("acme", 'ada"\n')
    assert (good["bytes_in"], good["bytes_out"]) == (14, 21)
    assert 0 < float(str(good["ms"])) < 2000
    assert 0 < float(str(good["left_ms"])) <= 2000
    assert bad["code"] == "NOT_FOUND"
    assert bad["request_id"] != good["request_id"]
    assert "canary" not in json.dumps([good, bad])


async def test_what_a_handler_logs_names_its_call(keys: Keys, written: Written) -> None:
    async def answer(request: Request, context: object) -> Answer:
        logging.getLogger("somewhere").info("working")
        return await echo(request, context)

    async with serve(keys, binding(Ask=answer)) as running:
        metadata = [("x-request-id", "request-1")]
        await Stub(running.channel()).ask(Request(tenant_id="acme"), metadata=metadata)

    (line,) = [line for line in written.lines() if line["logger"] == "somewhere"]
    assert (line["request_id"], line["tenant_id"]) == ("request-1", "acme")


def test_lines_are_dropped_and_counted_when_they_cannot_be_written() -> None:
    slow = logs.LineWriter(lambda _: time.sleep(0.05))
    for _ in range(10_010):
        slow.put("line")

    assert 0 < slow.dropped <= 10
