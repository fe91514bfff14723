"""Errors of schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import AlreadyExists, Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servicekit.errors import Violation


class ScheduleInvalid(InvalidInput):
    """A schedule's times, time zone or input cannot be used; every violation is listed."""

    reason = "ERROR_REASON_SCHEDULE_INVALID"
    hint = "Each fault is listed in the details of the status, with its field."

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        others = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{others}", violations=violations)


class ScheduleNotFound(NotFound):
    """The tenant has no schedule of this name."""

    reason = "ERROR_REASON_SCHEDULE_NOT_FOUND"
    hint = "List the tenant's schedules with ListSchedules."

    def __init__(self, schedule: str) -> None:
        super().__init__(f"there is no schedule {schedule}", schedule=schedule)


class ScheduleExists(AlreadyExists):
    """Another schedule of the tenant has this name."""

    reason = "ERROR_REASON_SCHEDULE_EXISTS"
    hint = "Change it with UpdateSchedule, or choose another name."

    def __init__(self, schedule: str) -> None:
        super().__init__(f"there is a schedule {schedule} already", schedule=schedule)


class SchedulePaused(Conflict):
    """A paused schedule creates no runs, those of times that have passed included."""

    reason = "ERROR_REASON_SCHEDULE_PAUSED"
    hint = "Resume it with ResumeSchedule first."

    def __init__(self, schedule: str) -> None:
        super().__init__(f"the schedule {schedule} is paused", schedule=schedule)
