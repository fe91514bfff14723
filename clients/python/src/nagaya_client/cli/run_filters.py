"""Options that say which runs are meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from nagaya.runs.v1 import run_pb2
from nagaya_client.cli import completion
from nagaya_client.cli.catalog import Dollars
from nagaya_client.cli.session import choice_of, chosen, labels

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C", bound="Callable[..., object]")

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"([1-9]\d{0,5})([mhdw])")


class Moment(click.ParamType[datetime]):
    """A moment: `2026-11-30`, `2026-11-30T08:00` in the time zone here, or `12h` ago."""

    name = "moment"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        if ago := _AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value} is no moment such as 2026-11-30T08:00, or 12h ago", param, ctx)


class RunFilterOptions(TypedDict):
    """What `run_filter_options` gives to a command."""

    pipeline: str
    states: tuple[str, ...]
    given_labels: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    min_cost: int
    max_cost: int | None


def run_filter_options(command: C) -> C:
    """Add the options that say which runs are meant."""
    options = (
        click.option(
            "--pipeline",
            default="",
            shell_complete=completion.pipelines,
            help="Only runs of this pipeline.",
        ),
        click.option(
            "--state",
            "states",
            type=choice_of(run_pb2.RunState),
            multiple=True,
            help="Only runs in this state, or one of several.",
        ),
        click.option(
            "--label",
            "given_labels",
            metavar="NAME=VALUE",
            multiple=True,
            help="Only runs with this label, and all of several.",
        ),
        click.option("--since", type=Moment(), help="Only runs created then or later; 12h: ago."),
        click.option("--until", type=Moment(), help="Only runs created before; 7d: ago."),
        click.option("--min-cost", type=Dollars(), default=0, help="Only runs that cost so much."),
        click.option("--max-cost", type=Dollars(), help="Only runs that cost no more."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def run_filter(given: RunFilterOptions) -> run_pb2.RunFilter:
    """Return the filter that the options make."""
    wanted = run_pb2.RunFilter(
        pipeline=given["pipeline"],
        states=[chosen(run_pb2.RunState, state) for state in dict.fromkeys(given["states"])],
        labels=labels(given["given_labels"]),
        min_cost_micro_usd=given["min_cost"],
        max_cost_micro_usd=given["max_cost"],
    )
    moments: tuple[tuple[Any, datetime | None], ...] = (
        (wanted.create_time_from, given["since"]),
        (wanted.create_time_before, given["until"]),
    )
    for field, moment in moments:
        if moment is not None:
            field.FromDatetime(moment)
    return wanted
