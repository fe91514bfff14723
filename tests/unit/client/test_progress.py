"""What a person sees of a run while it goes on."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.cli.run_progress import RunProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.api import Api

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
RUNNING = run_pb2.STEP_STATE_RUNNING
COMPLETED = run_pb2.STEP_STATE_COMPLETED
START = Timestamp(seconds=1_700_000_000)
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def step(name: str, item: int, state: run_pb2.StepState.ValueType) -> run_pb2.RunStep:
    piece = run_pb2.RunStep(step=name, item=item, visit=1, state=state, start_time=START)
    if state == COMPLETED:
        piece.end_time.CopyFrom(Timestamp(seconds=START.seconds + 2))
        piece.llm_model = "claude/claude-sonnet-5-5"
        piece.input_tokens, piece.output_tokens, piece.cost_micro_usd = 1000, 200, 4000
    return piece


def events(*things: run_pb2.Run | run_pb2.RunStep) -> list[run_pb2.RunEvent]:
    return [
        run_pb2.RunEvent(sequence=number, run=thing)
        if isinstance(thing, run_pb2.Run)
        else run_pb2.RunEvent(sequence=number, step=thing)
        for number, thing in enumerate(things, 1)
    ]


def test_a_piece_of_work_has_one_line_however_often_its_events_come() -> None:
    progress = RunProgress("acme")
    for event in events(
        step("outline", 0, RUNNING),
        step("outline", 0, COMPLETED),
        step("draft", 1, RUNNING),
        step("draft", 2, RUNNING),
        step("draft", 1, COMPLETED),
    ):
        progress.apply(event)

    shown = [(row.step, row.item, row.state) for row in progress.rows()]
    assert shown == [
        ("outline", "", "completed"),
        ("draft", "1", "completed"),
        ("draft", "2", "running"),
    ]
    assert next(progress.rows()).seconds == "2.0"


def test_a_long_map_is_one_line() -> None:
    progress = RunProgress("acme")
    pieces = [step("draft", n, COMPLETED if n % 4 else RUNNING) for n in range(1, 201)]
    own_row = step("draft", 0, RUNNING)
    for event in events(own_row, *pieces):
        progress.apply(event)

    (row,) = progress.rows()
    assert (row.item, row.state) == ("200", "150 completed, 50 running")
    assert (row.tokens, row.cost) == ("180,000", "$0.6000")


def test_twelve_elements_are_shown_one_by_one_below_the_map_s_own_row() -> None:
    progress = RunProgress("acme")
    for event in events(*(step("draft", n, COMPLETED) for n in range(13))):
        progress.apply(event)

    assert [row.item for row in progress.rows()] == ["", *map(str, range(1, 13))]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
def test_on_a_terminal_a_watch_is_a_table_that_is_redrawn(
    api: Api, environment: dict[str, str]
) -> None:
    done = run_pb2.Run(run_id=RUN_ID, state=run_pb2.RUN_STATE_COMPLETED, start_time=START)
    done.end_time.CopyFrom(Timestamp(seconds=START.seconds + 5))
    drawn_once = threading.Event()
    *before, last = [
        run_service_pb2.WatchRunResponse(event=event)
        for event in events(step("outline", 0, RUNNING), step("outline", 0, COMPLETED), done)
    ]
    api.on("WatchRun", [before[0], drawn_once, *before[1:], last])

    shown = on_a_terminal(
        ["run", "watch", RUN_ID, "-t", "acme"],
        environment,
        lambda text: drawn_once.set() if "running" in text else None,
    )

    plain = [re.split(r"\s{2,}", line.strip()) for line in _CODES.sub("", shown).splitlines()]
    assert ["STEP", "ITEM", "STATE", "MODEL", "TOKENS", "COST", "SECONDS"] in plain
    assert ["outline", "completed", "claude/claude-sonnet-5-5", "1,200", "$0.0040", "2.0"] in plain
    assert [f"acme/{RUN_ID}", "completed", "$0.0040", "5.0 s"] in plain
    assert ("\x1b[32m" in shown) is (not environment)


@pytest.mark.usefixtures("here")
def test_a_watch_tells_what_the_run_waits_for(api: Api) -> None:
    run = run_pb2.Run(run_id=RUN_ID, state=run_pb2.RUN_STATE_RUNNING, start_time=START)
    stuck, queued, done = run_pb2.Run(), run_pb2.Run(), run_pb2.Run()
    for one in (stuck, queued, done):
        one.CopyFrom(run)
    stuck.stuck_reason = "no worker takes the run's tasks"
    queued.queued = True
    done.end_time.CopyFrom(Timestamp(seconds=START.seconds + 5))
    done.state = run_pb2.RUN_STATE_COMPLETED
    expected = (
        "waits for its turn",
        "does not move: no worker takes",
        "sign-off waits for a person",
    )
    sent: list[run_service_pb2.WatchRunResponse | threading.Event] = []
    drawn = [threading.Event() for _ in expected]
    waiting = run_pb2.STEP_STATE_WAITING
    things = (
        queued,
        stuck,
        run,
        step("sign-off", 0, waiting),
        step("sign-off", 0, COMPLETED),
        done,
    )
    for event in events(*things):
        sent.append(run_service_pb2.WatchRunResponse(event=event))
        if event.sequence in (1, 2, 4):
            sent.append(drawn[{1: 0, 2: 1, 4: 2}[event.sequence]])
    api.on("WatchRun", sent)

    def see(text: str) -> None:
        for words, seen in zip(expected, drawn, strict=True):
            if words in text:
                seen.set()

    shown = on_a_terminal(["run", "watch", RUN_ID, "-t", "acme"], {"COLUMNS": "200"}, see)

    plain = _CODES.sub("", shown)
    assert f"`nagaya approval list --run {RUN_ID} --tenant acme` shows what is asked" in plain
    assert not any("waits for" in line for line in plain.splitlines()[-4:])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("columns", "model"), [(80, "claude/claude-sonnet-…"), (60, "")])
def test_a_narrow_terminal_cuts_names_and_no_numbers(api: Api, columns: int, model: str) -> None:
    done = run_pb2.Run(run_id=RUN_ID, state=run_pb2.RUN_STATE_COMPLETED, start_time=START)
    sent = events(step("outline", 0, COMPLETED), done)
    api.on("WatchRun", [run_service_pb2.WatchRunResponse(event=event) for event in sent])

    shown = on_a_terminal(
        ["run", "watch", RUN_ID, "-t", "acme"], {"COLUMNS": str(columns)}, lambda _: None
    )

    plain = [re.split(r"\s{2,}", line.strip()) for line in _CODES.sub("", shown).splitlines()]
    named = [model] if model else []
    assert ["outline", "completed", *named, "1,200", "$0.0040", "2.0"] in plain


@pytest.mark.usefixtures("here")
def test_a_watch_that_is_interrupted_says_that_the_run_goes_on(api: Api) -> None:
    never = threading.Event()
    started = run_pb2.RunEvent(sequence=1, run=run_pb2.Run(state=run_pb2.RUN_STATE_RUNNING))
    api.on("WatchRun", [run_service_pb2.WatchRunResponse(event=started), never])

    shown = on_a_terminal(
        ["run", "watch", RUN_ID, "-t", "acme"],
        {"COLUMNS": "200"},
        lambda text: never.set() if "interrupted" in text else None,
        interrupted_at="running",
    )

    plain = _CODES.sub("", shown)
    assert f"`nagaya run watch {RUN_ID} --tenant acme` shows it again" in plain
    assert f"`nagaya run cancel {RUN_ID} --tenant acme` stops it" in plain


def on_a_terminal(
    arguments: list[str],
    environment: dict[str, str],
    seen: Callable[[str], None],
    *,
    interrupted_at: str = "",
) -> str:
    """Run the command on a terminal of its own; `seen` is called with all that it has shown.

    When it has shown the text `interrupted_at`, it is interrupted.
    """
    main, side = pty.openpty()
    command = [sys.executable, "-m", "nagaya_client.cli", *arguments]
    settings = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"} | environment
    with subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=settings) as process:
        os.close(side)
        shown, expected = b"", 0
        while chunk := _read(main):
            shown += chunk
            text = shown.decode(errors="replace")
            seen(text)
            if interrupted_at and interrupted_at in text and "interrupted" not in text:
                process.send_signal(signal.SIGINT)
                interrupted_at = ""
                expected = 130
    os.close(main)
    assert process.returncode == expected, shown.decode()
    return shown.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux's way to say that the other side is closed
        return b""
