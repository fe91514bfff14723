"""`nagaya run export`: a run as a page that needs nothing beside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.cli.main import run
from nagaya_client.cli.run_page.export import RunExport
from nagaya_client.cli.run_page.render import render
from nagaya_client.cli.run_page.scale import took

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api, RecordedCall

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
BEGAN = 1_790_000_000
EVIL = '<script>alert("1")</script><img src=http://evil>'
COMPLETED, FAILED = run_pb2.STEP_STATE_COMPLETED, run_pb2.STEP_STATE_FAILED


class Page(HTMLParser):
    """The elements of a page, and the text in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"input", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data + " "

    def rows(self) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if "data-text" in attributes]


def piece(
    step: str, item: int = 0, *, fails: bool = False, attempts: int = 1
) -> run_pb2.StepTimeline:
    """A piece of work that lasts a second an attempt, and costs a cent."""
    done = run_pb2.RunStep(
        step=step,
        item=item,
        visit=1,
        state=FAILED if fails else COMPLETED,
        retry_count=attempts - 1,
        llm_model="claude/claude-sonnet-5-5",
        input_tokens=1_000,
        output_tokens=200,
        cost_micro_usd=10_000,
    )
    begins = BEGAN + 1 + item // 10
    done.start_time.seconds, done.end_time.seconds = begins, begins + attempts
    if fails:
        done.error.CopyFrom(
            run_pb2.RunError(reason="PROVIDER_REFUSED", message=EVIL, step=step, item=item)
        )
    found = run_pb2.StepTimeline(step=done)
    for number in range(attempts):
        lost = fails or number < attempts - 1
        attempt = found.attempts.add(
            epoch=1, attempt=number + 1, state=FAILED if lost else COMPLETED
        )
        attempt.reason = "PROVIDER_REFUSED" if lost else ""
        attempt.start_time.seconds, attempt.end_time.seconds = begins + number, begins + number + 1
    return found


def export(*steps: run_pb2.StepTimeline, ended: bool = True) -> RunExport:
    whole = run_pb2.Run(
        run_id=RUN_ID,
        pipeline="invoices",
        pipeline_version=3,
        state=run_pb2.RUN_STATE_FAILED if ended else run_pb2.RUN_STATE_RUNNING,
        labels={"customer": EVIL},
        user_id="ada",
        totals=run_pb2.RunTotals(cost_micro_usd=478_000, input_tokens=9, output_tokens=8),
    )
    whole.config.update({"note": EVIL})
    whole.create_time.seconds = whole.start_time.seconds = BEGAN
    phases = [
        run_pb2.RunPhase(state=run_pb2.RUN_STATE_PENDING),
        run_pb2.RunPhase(state=whole.state),
    ]
    phases[0].start_time.seconds, phases[0].end_time.seconds = BEGAN, BEGAN + 1
    phases[1].start_time.seconds = BEGAN + 1
    if ended:
        whole.end_time.seconds = BEGAN + 120
        message = f"element 90: {EVIL}"
        whole.error.CopyFrom(
            run_pb2.RunError(reason="PROVIDER_REFUSED", message=message, step="extract", item=90)
        )
    artifact = artifact_pb2.Artifact(
        path=f"storage/acme/{RUN_ID}/extract/output.json",
        step="extract",
        size_bytes=2_048,
        digest="a" * 64,
        summary=EVIL,
    )
    return RunExport("acme", whole, phases, steps, [artifact])


def test_a_page_shows_all_that_there_is_of_a_run_with_1_000_elements() -> None:
    elements = [piece("extract", item, fails=item == 90) for item in range(1, 1_001)]
    page = Page(render(export(piece("split"), *elements, piece("review", attempts=2))))

    assert len(page.rows()) == 1 + 1 + 1_000 + 1  # the steps, and the elements of one of them
    for text in (
        "invoices",
        "version 3",
        "failed",
        "$0.4780",
        "$10.0000",  # of all elements together
        "1,000 elements, 1 failed",
        "element 90",
        "PROVIDER_REFUSED",
        f"storage/acme/{RUN_ID}/extract/output.json",
        "2.0 KiB",
    ):
        assert text in page.text
    notable = [row["data-text"] for row in page.rows() if "data-notable" in row]
    assert len(notable) == 3  # an element that failed, its step, and one that was tried again
    assert any("element 90" in str(text) for text in notable)


def test_a_page_loads_nothing_and_runs_nothing_of_the_run() -> None:
    text = render(export(piece("extract", 90, fails=True)))
    page = Page(text)

    assert not re.search(r"(?i)url\(|@import|<link|<iframe|<img", text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    loading = {"src", "href", "action", "background", "data", "poster", "srcset"}
    assert not [attributes for _, attributes in page.tags if loading & attributes.keys()]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in str(page.tags)
    assert EVIL in page.text  # as text


def test_a_run_that_goes_on_has_a_page_too() -> None:
    step = piece("draft")
    step.step.state = run_pb2.STEP_STATE_RUNNING
    for work in (step.step, step.attempts[0]):
        work.ClearField("end_time")
    going = export(step, ended=False)
    going.run.stuck_reason = "draft: llm-gateway cannot be reached"

    page = Page(render(going))
    assert "It does not move: draft: llm-gateway cannot be reached" in " ".join(page.text.split())


def test_a_page_tells_what_a_fork_has_taken_over() -> None:
    taken = [piece("extract", item) for item in (1, 2)]
    for each in taken:
        each.step.reused = True
    fork = export(*taken, piece("review"))
    fork.run.forked_from_run_id = "0192f0c1-0000-7000-8000-000000000001"

    text = Page(render(fork)).text
    assert "2 elements, 2 reused" in text
    assert "forked from 0192f0c1-0000-7000-8000-000000000001" in text


def test_a_run_without_any_work_has_a_page() -> None:
    assert "invoices" in Page(render(export())).text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.0421, "42 ms"),
        (1.23, "1.2 s"),
        (59.96, "60 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3_600, "1 h"),
        (7_380, "2 h 3 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_lengths_of_time_are_short(seconds: float, expected: str) -> None:
    assert took(seconds) == expected


@pytest.mark.usefixtures("here")
def test_a_page_is_written_from_all_pages_of_the_services(api: Api, here: Path) -> None:
    whole = export(piece("extract"))

    def timeline(call: RecordedCall) -> run_service_pb2.GetRunTimelineResponse:
        first = not call.request.page_token
        return run_service_pb2.GetRunTimelineResponse(
            steps=[piece("first" if first else "second")],
            next_page_token="2" if first else "",
            phases=whole.phases if first else (),
        )

    api.on("GetRunTimeline", timeline)
    api.on("GetRun", run_service_pb2.GetRunResponse(run=whole.run))
    listed = artifact_service_pb2.ListArtifactsResponse(artifacts=whole.artifacts)
    api.on("ListArtifacts", listed)

    assert run(["run", "export", RUN_ID, "--html", "run.html", "-t", "acme"]) == 0
    page = Page((here / "run.html").read_text())
    assert {"first", "second"} <= set(page.text.split())
