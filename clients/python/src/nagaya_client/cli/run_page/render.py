"""A run's page: what it was, what happened when, what failed, and the files that are left."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from google.protobuf import json_format

from nagaya.runs.v1 import run_pb2
from nagaya_client.cli import values
from nagaya_client.cli.run_page.markup import Markup, element, joined, page
from nagaya_client.cli.run_page.rows import timeline
from nagaya_client.cli.run_page.scale import Scale, took

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from nagaya.artifacts.v1 import artifact_pb2
    from nagaya_client.cli.run_page.export import RunExport

_LEGEND = ("completed", "running", "failed", "waiting", "skipped", "cancelled")


def render(export: RunExport) -> str:
    """Return the whole page."""
    run = export.run
    scale = Scale.of(run, (each.step.end_time for each in export.steps))
    body = joined(
        _heading(export),
        _facts(run, scale),
        _error(run),
        element("h2", "What happened when"),
        _tools(),
        timeline(export.steps, scale, _phases(export.phases, scale)),
        _legend(),
        _failures(export.steps),
        _files(export.artifacts),
        _settings(run),
        element("footer", f"Exported {_moment_now()}. Times are UTC."),
    )
    return page(f"{run.pipeline} · {run.run_id}", body)


def _heading(export: RunExport) -> Markup:
    run = export.run
    state = values.name_of(run_pb2.RunState, run.state)
    labels = [element("span", f"{name} = {run.labels[name]}") for name in sorted(run.labels)]
    return joined(
        element(
            "header",
            element("h1", run.pipeline, " ", element("small", f"version {run.pipeline_version}")),
            element("span", state, class_=f"state s-{state}"),
            element("code", f"{export.tenant_id}/{run.run_id}", class_="soft"),
        ),
        element("div", *labels, class_="labels") if labels else Markup(),
        _origin(run),
    )


def _origin(run: run_pb2.Run) -> Markup:
    origins = (
        f"forked from {run.forked_from_run_id}" if run.forked_from_run_id else "",
        f"created by schedule {run.schedule}" if run.schedule else "",
    )
    text = ", ".join(filter(None, origins))
    return element("p", text, class_="soft") if text else Markup()


def _facts(run: run_pb2.Run, scale: Scale) -> Markup:
    totals = run.totals
    lasted = took(scale.seconds)
    open_calls = "calls are still in flight" if totals.calls_open else ""
    facts = (
        ("Lasted" if run.HasField("end_time") else "Lasts for", lasted, ""),
        ("Cost", values.money(totals.cost_micro_usd), open_calls),
        ("Input tokens", f"{totals.input_tokens:,}", ""),
        ("Output tokens", f"{totals.output_tokens:,}", ""),
        ("Pieces of work done", f"{totals.completed_steps:,}", ""),
        ("Created", *_created(run)),
    )
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value, _small(more)))
            for name, value, more in facts
        ),
        class_="facts sheet",
    )


def _created(run: run_pb2.Run) -> tuple[str, str]:
    day, _, time = _moment(run.create_time).partition(" ")
    return day, f"{time} by {run.user_id}" if run.user_id else time


def _small(text: str) -> Markup:
    return element("small", text) if text else Markup()


def _error(run: run_pb2.Run) -> Markup:
    error = run.error
    if error.message:
        where = f"step {error.step}: " if error.step else ""
        said = joined(element("b", error.reason), " ", where, error.message)
    elif run.queued:
        said = element("b", "It waits for its turn.")
    elif run.stuck_reason:
        said = joined(element("b", "It does not move: "), run.stuck_reason)
    else:
        return Markup()
    return element("p", said, class_="error sheet")


def _tools() -> Markup:
    search = element(
        "input",
        type="search",
        id="search",
        placeholder="Step, element, model, reason …",
        aria_label="Search the rows",
    )
    only = element("label", element("input", type="checkbox", id="only"), " only failed or retried")
    return element(
        "div", search, only, element("button", "Open or close all", id="all"), class_="tools"
    )


def _phases(phases: Sequence[run_pb2.RunPhase], scale: Scale) -> Markup:
    """Return the run's own row."""
    bars: list[Markup] = []
    for phase in phases:
        state = values.name_of(run_pb2.RunState, phase.state)
        span = scale.span(phase)
        if phase.HasField("end_time") or state in ("pending", "running", "paused"):
            words = [state, took(span.seconds), phase.stuck_reason]
            bars.append(scale.bar(span, f"s-{state}", ", ".join(filter(None, words))))
    cells = (element("span", "run", class_="name soft"), element("span", *bars, class_="track"))
    blanks = (element("span") for _ in range(5))
    return element("div", *cells, *blanks, class_="row")


def _legend() -> Markup:
    kinds = (element("span", element("b", class_=f"s-{kind}"), kind) for kind in _LEGEND)
    height = element("span", "The height of a mapped step's bar: how many elements at once")
    return element("p", *kinds, height, class_="legend")


def _failures(steps: Sequence[run_pb2.StepTimeline]) -> Markup:
    failed = [each for each in steps if each.step.HasField("error")]
    if not failed:
        return Markup()
    rows = (
        (
            each.step.step,
            f"{each.step.item:,}" if each.step.item else "",
            f"{len(each.attempts) or 1}",
            joined(element("b", each.step.error.reason), " ", each.step.error.message),
            element("code", each.step.error.error_path),
        )
        for each in failed
    )
    head = ("Step", "Element", "Tries", "Why", "The whole error")
    heading = element("h2", "What failed ", element("small", f"{len(failed):,}"))
    return joined(heading, element("div", _table(head, rows), class_="sheet chart"))


def _files(artifacts: Sequence[artifact_pb2.Artifact]) -> Markup:
    by_step: dict[str, list[artifact_pb2.Artifact]] = {}
    for artifact in artifacts:
        by_step.setdefault(artifact.step, []).append(artifact)
    count = f"{len(artifacts):,}, {_bytes(sum(each.size_bytes for each in artifacts))}"
    heading = element("h2", "Files ", element("small", count))
    folders = (_folder(step, found) for step, found in by_step.items())
    return joined(heading, element("div", *folders, class_="sheet files"))


def _folder(step: str, artifacts: Sequence[artifact_pb2.Artifact]) -> Markup:
    size = _bytes(sum(each.size_bytes for each in artifacts))
    count = f"{len(artifacts):,} file{'s' * (len(artifacts) > 1)}, {size}"
    rows = (
        (
            element("code", each.path),
            _bytes(each.size_bytes),
            each.summary,
            element("code", each.digest[:12], title=each.digest),
        )
        for each in artifacts
    )
    head = ("Path", "Size", "Summary", "sha256")
    summary = element("summary", element("b", step), " ", element("span", count, class_="soft"))
    return element("details", summary, element("div", _table(head, rows), class_="chart"))


def _settings(run: run_pb2.Run) -> Markup:
    text = run.config_json
    if run.HasField("config") and not text:
        found = cast("dict[str, object]", values.whole(json_format.MessageToDict(run.config)))
        text = json.dumps(found, ensure_ascii=False, indent=2)
    if not text:
        return Markup()
    return joined(element("h2", "Settings"), element("pre", text, class_="sheet"))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    cells = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    headers = (element("th", name) for name in head)
    return element("table", element("thead", element("tr", *headers)), element("tbody", *cells))


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def _moment(time: Timestamp) -> str:
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")


def _moment_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
