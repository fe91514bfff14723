"""A watch survives broken connections: no event is lost, and none comes twice."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.client.api import Refusal

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya.tenant.v1 import operation_pb2, operation_service_pb2
from nagaya_client.cli.main import run as run_command
from nagaya_client.errors import ApiError
from nagaya_client.watch_operation import watch_operation

if TYPE_CHECKING:
    from tests.unit.client.api import Api, RecordedCall

    from nagaya_client.client import Client

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
LAST = 12
BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE, "", reason="")


def message(sequence: int) -> run_service_pb2.WatchRunResponse:
    event = run_pb2.RunEvent(sequence=sequence)
    if sequence == LAST:
        event.run.state = run_pb2.RUN_STATE_COMPLETED
    else:
        event.step.step = f"step-{sequence}"
        event.step.state = run_pb2.STEP_STATE_COMPLETED
    return run_service_pb2.WatchRunResponse(event=event)


HEARTBEAT = run_service_pb2.WatchRunResponse(heartbeat_sequence=LAST)


class Log:
    """A run's events as a server has them, and how it sends them: a few at a time."""

    def __init__(self, api: Api, *ends: object) -> None:
        self._ends = list(ends)
        api.on("WatchRun", self._watch)
        state = run_pb2.RUN_STATE_COMPLETED
        finished = run_pb2.Run(run_id=RUN_ID, state=state, last_sequence=LAST)
        api.on("GetRun", run_service_pb2.GetRunResponse(run=finished))

    def _watch(self, call: RecordedCall) -> list[object]:
        after: int = call.request.after_sequence
        if not self._ends:
            return [message(n) for n in range(after + 1, LAST + 1)]
        ending = self._ends.pop(0)
        few = [message(n) for n in range(after + 1, min(after + 3, LAST) + 1)]
        return [HEARTBEAT, *few, *([] if ending is None else [ending])]


async def sequences(client: Client, after: int = 0) -> list[int]:
    return [event.sequence async for event in client.watch_run("acme", RUN_ID, after)]


@pytest.mark.parametrize(
    "ends",
    [
        (),
        (BROKEN, BROKEN, BROKEN),
        (None, None),
        (message(1), message(2)),
        (message(LAST), BROKEN),
        (Refusal(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", reason=""),),
        (Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "a day is over"), None),
        (BROKEN, BROKEN, BROKEN, BROKEN),
    ],
    ids=[
        "unbroken",
        "aborted",
        "ended early",
        "duplicates",
        "a gap",
        "reset",
        "expired",
        "aborted after the last",
    ],
)
async def test_every_event_comes_once_and_in_order(
    api: Api, client: Client, ends: tuple[object, ...]
) -> None:
    Log(api, *ends)
    assert await sequences(client) == list(range(1, LAST + 1))


async def test_a_watch_begins_after_what_is_known(api: Api, client: Client) -> None:
    Log(api)
    assert await sequences(client, after=5) == list(range(6, LAST + 1))
    assert [call.request.after_sequence for call in api.called("WatchRun")] == [5]


async def test_a_watch_resumes_with_the_last_event_that_came(api: Api, client: Client) -> None:
    Log(api, BROKEN, BROKEN)
    await sequences(client)
    assert [call.request.after_sequence for call in api.called("WatchRun")] == [0, 3, 6]


async def test_watching_a_run_that_is_over_ends_at_once(api: Api, client: Client) -> None:
    Log(api)
    assert await sequences(client, after=LAST) == []


async def test_a_server_that_is_started_anew_is_found_again(api: Api, client: Client) -> None:
    waiting = threading.Event()
    Log(api, waiting)
    seen: list[int] = []
    async for event in client.watch_run("acme", RUN_ID):
        seen.append(event.sequence)
        if event.sequence == 3:
            api.stop()
            waiting.set()
            api.start()
    assert seen == list(range(1, LAST + 1))


async def test_a_refusal_ends_the_watch(api: Api, client: Client) -> None:
    refusal = Refusal(grpc.StatusCode.NOT_FOUND, "no such run", "ERROR_REASON_RUN_NOT_FOUND")
    Log(api, BROKEN, refusal)

    with pytest.raises(ApiError) as refused:
        await sequences(client)

    assert refused.value.reason == "ERROR_REASON_RUN_NOT_FOUND"
    assert [call.request.after_sequence for call in api.called("WatchRun")] == [0, 3]


BUSY = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", "ERROR_REASON_LIMIT_EXCEEDED")


async def test_a_watch_waits_as_long_as_the_service_says(api: Api, client: Client) -> None:
    Log(api, replace(BUSY, retry_after_ms=600))
    began = time.monotonic()

    assert await sequences(client) == list(range(1, LAST + 1))
    assert time.monotonic() - began >= 0.6

    Log(api, replace(BUSY, retry_after_ms=60_000))
    with pytest.raises(ApiError, match="busy"):  # it would be too late
        await anext(client.watch_run("acme", RUN_ID, after=LAST, reconnect_seconds=1))


async def test_what_a_stream_was_silent_before_it_broke_is_no_break(
    api: Api, client: Client
) -> None:
    quiet = threading.Event()
    text = run_service_pb2.WatchStepTextResponse(text=run_pb2.StepText(attempt=1, text="Cranes"))
    step = run_service_pb2.WatchStepTextResponse(step=run_pb2.RunStep(step="draft"))
    answers: list[object] = [[text, quiet, BROKEN], BROKEN, [step]]
    api.on("WatchStepText", lambda _: answers.pop(0))
    threading.Timer(1.0, quiet.set).start()

    watch = client.watch_step_text("acme", RUN_ID, "draft", reconnect_seconds=0.9)
    assert [part async for part in watch] == [text.text, step.step]


async def test_what_the_caller_does_meanwhile_is_no_break(api: Api, client: Client) -> None:
    def operation(state: operation_pb2.OperationState.ValueType) -> object:
        return operation_service_pb2.WatchOperationResponse(
            operation=operation_pb2.Operation(operation_id="o", state=state)
        )

    running = operation(operation_pb2.OPERATION_STATE_RUNNING)
    done = operation(operation_pb2.OPERATION_STATE_DONE)
    answers: list[object] = [[running, BROKEN], [done]]
    api.on("WatchOperation", lambda _: answers.pop(0))

    states: list[int] = []
    async for seen in watch_operation(client.operations, "o", reconnect_seconds=0.5):
        states.append(seen.state)
        await asyncio.sleep(0.7)  # longer than a break may last
    assert len(states) == 2


async def test_reconnecting_ends(api: Api, client: Client) -> None:
    api.stop()
    watch = client.watch_run("acme", RUN_ID, reconnect_seconds=0.3)
    with pytest.raises(ApiError) as refused:
        await anext(watch)
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.usefixtures("here")
def test_piped_a_watch_is_one_event_a_line(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    Log(api, BROKEN, BROKEN)

    assert run_command(["run", "watch", RUN_ID, "-t", "acme", "--after", "2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["sequence"] for line in lines] == [str(n) for n in range(3, LAST + 1)]
    assert lines[0]["step"] == {"step": "step-3", "state": "STEP_STATE_COMPLETED"}
    assert lines[-1]["run"] == {"state": "RUN_STATE_COMPLETED"}


async def test_a_break_of_the_connection_and_its_end_are_reported(api: Api, client: Client) -> None:
    Log(api, BROKEN, None, BROKEN)
    seen: list[str] = []
    watch = client.watch_run(
        "acme",
        RUN_ID,
        on_cut=lambda error: seen.append(f"cut: {error.code.name}"),
        on_resumed=lambda _: seen.append("back"),
    )
    async for event in watch:
        seen.append(str(event.sequence))  # noqa: PERF401 - in its turn among the others

    cut = ["cut: UNAVAILABLE", "back"]
    assert [one for one in seen if not one.isdecimal()] == cut * 2
    assert seen.index("back") == 4  # after three events and the cut


@pytest.mark.usefixtures("here")
def test_a_piped_watch_tells_of_a_cut_line_beside_the_events(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    Log(api, BROKEN)

    assert run_command(["run", "watch", RUN_ID, "-t", "acme"]) == 0
    out, errors = capsys.readouterr()
    assert len(out.splitlines()) == LAST
    cut, back = errors.splitlines()
    assert cut.startswith(
        f"acme/{RUN_ID}: the connection is broken ({api.address} cannot be reached"
    )
    assert back.startswith(f"acme/{RUN_ID}: reconnected after ")


@pytest.mark.usefixtures("here")
def test_asked_for_json_a_watch_prints_the_run_at_its_end(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    Log(api)

    assert run_command(["run", "watch", RUN_ID, "-t", "acme", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["lastSequence"] == str(LAST)


@pytest.mark.usefixtures("here")
def test_asked_for_a_table_a_piped_watch_is_one_line_an_event(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    Log(api)

    assert run_command(["run", "watch", RUN_ID, "-t", "acme", "-o", "table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == LAST
    assert lines[0].split() == [f"acme/{RUN_ID}", "step-1", "completed"]
    assert lines[-1].split()[:2] == [f"acme/{RUN_ID}", "completed"]
