"""Schedules: when runs of a pipeline are to be created, and what they are given."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from jsonvalues import canonical
from runs.domain.inputs import Inline, check_settings, check_size, input_json, to_stored_json
from runs.domain.models import model_json
from runs.domain.runs import RunDraft
from runs.errors.schedules import ScheduleInvalid
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonvalues import JsonMapping
    from runs.domain.inputs import Pointer
    from runs.domain.models import ModelChoice
    from runs.domain.runs import Failure

CATCH_UP_SECONDS = 3_600
"""How late a run is created when nothing else is said."""

SCHEDULES = "/schedule/"
"""What stands between a tenant's id and a schedule's in Temporal."""

MOST_TIMES = 1_000
"""How many times one backfill may have."""

TRIGGERED = "trigger:"
"""How the request ids of runs begin that somebody has triggered."""

_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_FIELD = re.compile(r"[0-9A-Za-z*,/-]+")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Overlap(StrEnum):
    """What happens when a run has not ended at the next time; as the column holds it."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_OTHER = "cancel_other"
    ALLOW_ALL = "allow_all"


@dataclass(frozen=True, slots=True)
class Times:
    """When: by `cron` in a time zone or, where it is empty, each `every_seconds` from 1970 on."""

    cron: str = ""
    every_seconds: int = 0
    time_zone: str = ""

    def violations(self) -> list[Violation]:
        """Return what is wrong with them, by the fields of the spec."""
        if not self.cron:
            return []
        try:
            ZoneInfo(self._zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return [Violation("time_zone", f"there is no time zone {self.time_zone[:64]!r}")]
        fault = self._cron_fault()
        return [Violation("cron", fault)] if fault else []

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times after a moment, in UTC. They must have no violations.

        Where clocks go forward, a local time that does not exist is left out. Where they go back, a
        local time that exists twice comes once, unless the minute or the hour begins with `*`.
        """
        if not self.cron:
            every = timedelta(seconds=self.every_seconds)
            time = _EPOCH + ((moment - _EPOCH) // every + 1) * every
            while True:
                yield time
                time += every
        last = moment
        try:
            cron = CronSim(self.cron, moment.astimezone(ZoneInfo(self._zone)))
            for local in cron:
                time = local.astimezone(UTC)
                # It moves a time that does not exist behind the gap, and within an hour that comes
                # twice it may begin before the moment that it is given.
                exists = local.hour in cron.hours and local.minute in cron.minutes
                if exists and time > last:
                    yield time
                    last = time
        except CronSimError:
            return

    def first(self, time: datetime) -> datetime:
        """Return the time that `after` yields for one to which Temporal came.

        It is another one where clocks went back: of a local time that comes twice Temporal comes to
        both or to the second only, depending on the zone.
        """
        local = time.astimezone(ZoneInfo(self._zone))
        if not self.cron or not local.fold:
            return time
        if next(self.after(time - timedelta(seconds=1)), None) == time:
            return time
        return local.replace(fold=0).astimezone(UTC)

    def between(self, start: datetime, end: datetime) -> int:
        """Return how many times there are from `start` to `end`, both included; MOST_TIMES + 1
        stands for more.
        """
        found = 0
        for time in islice(self.after(start - timedelta(microseconds=1)), MOST_TIMES + 1):
            if time > end:
                break
            found += 1
        return found

    @property
    def _zone(self) -> str:
        return self.time_zone or "UTC"

    def _cron_fault(self) -> str:
        fields = self.cron.upper().split()
        if len(fields) != len(_FIELDS):
            return f"it has {len(fields)} fields, not five: {', '.join(_FIELDS)}"
        for name, field in zip(_FIELDS, fields, strict=True):
            words = re.findall(r"[A-Z]+", field)
            if not _FIELD.fullmatch(field) or not {*_MONTHS, *_DAYS}.issuperset(words):
                return f"the {name} is {field[:32]!r}: numbers, names of days and months, * , - /"
        if not (fields[2].startswith("*") or fields[4].startswith("*")):
            # Cron takes either, Temporal both: nobody would know which of them was meant.
            return "the day of the month and the day of the week exclude each other: one is *"
        try:
            next(CronSim(self.cron, _EPOCH))
        except CronSimError as error:
            return f"it cannot be used: {str(error) or 'no such time'}".lower()
        except StopIteration:
            return "no moment fits it"
        return ""


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """What a schedule does and when."""

    pipeline: str
    version: int
    """The pipeline's version; 0 for the newest of each time."""
    times: Times
    input: Inline | Pointer
    time_member: str
    """The member of the input that is set to a run's time; none when empty."""
    overlap: Overlap
    catch_up_seconds: int
    step_models: Mapping[str, ModelChoice]
    settings: JsonMapping
    """What is kept with each run."""

    def check(self) -> None:
        """Raise ScheduleInvalid with every fault, InputInvalid or RequestInvalid for sizes."""
        faults = self.times.violations()
        is_object = isinstance(self.input, Inline) and isinstance(self.input.value, Mapping)
        if self.time_member and not is_object:
            fault = "a time can be set in an inline input that is a JSON object"
            faults.append(Violation("time_member", fault))
        if faults:
            raise ScheduleInvalid(faults)
        check_size(self.input)
        check_settings(self.settings)

    @property
    def config(self) -> JsonMapping:
        """What its runs are given, as it is stored."""
        models = {step: model_json(choice) for step, choice in self.step_models.items()}
        return {
            **input_json(self.input),
            "step_models": models,
            **to_stored_json("settings", self.settings),
        }

    @property
    def digest(self) -> str:
        """The sha256 of everything that it says."""
        times = self.times
        said = [
            *(self.pipeline, self.version, times.cron, times.every_seconds, times.time_zone),
            *(self.time_member, self.overlap.value, self.catch_up_seconds, self.config),
        ]
        return hashlib.sha256(canonical(said)).hexdigest()

    def draft(self, schedule: str, request_id: str, time: datetime) -> RunDraft:
        """Return the run of a time. Raises InputInvalid."""
        given = self.input
        if self.time_member and isinstance(given, Inline) and isinstance(given.value, Mapping):
            given = Inline({**given.value, self.time_member: text_of(time)})
        drafted = RunDraft.parse(
            request_id, (self.pipeline, self.version), given, self.step_models, self.settings
        )
        return replace(drafted, schedule=schedule, schedule_time=time)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as its row tells it."""

    name: str
    schedule_id: str
    """Another one for each creation, also of the same name."""
    spec: ScheduleSpec
    paused: bool
    pause_reason: str
    generation: int
    """Grows with each change that Temporal is to follow."""
    delivered: bool
    """Whether Temporal follows this generation."""
    last_time: datetime | None
    last_run_id: str
    error: Failure | None
    user_id: str
    create_time: datetime
    update_time: datetime

    def next_times(self, now: datetime, count: int) -> list[datetime]:
        """Return its next times; none while it is paused."""
        return [] if self.paused else list(islice(self.spec.times.after(now), count))

    def request_id(self, time: datetime) -> str:
        """Return the request id of a time's run: so a time has one run, however often it comes."""
        return f"schedule:{self.schedule_id}:{text_of(time)}"


@dataclass(frozen=True, slots=True)
class Backfill:
    """Times of a schedule that have passed and are to get their runs."""

    backfill_id: int
    schedule_id: str
    start: datetime
    end: datetime
    overlap: Overlap


def text_of(time: datetime) -> str:
    """Return a time to the second as RFC 3339 has it, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def temporal_id(tenant_id: str, schedule_id: str) -> str:
    """Return the id of a schedule in Temporal, and what those of its workflows begin with."""
    return f"{tenant_id}{SCHEDULES}{schedule_id}"
