"""The rules of steps that ask a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runs.domain.approvals import OnTimeout
from runs.domain.pipelines import INPUT
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runs.domain.pipelines import ApprovalStep, StepSpec

_PERMISSION = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


def approval_faults(
    at: str, step: StepSpec, approval: ApprovalStep, by_name: Mapping[str, StepSpec]
) -> Iterator[Violation]:
    """Name the faults of a step that asks."""
    if step.map is not None:
        yield Violation(f"{at}.map", "a person is asked once: leave `map` out")
    for name in ("metrics", "values"):
        if getattr(step, name):
            fault = "a decision has `decision`, `approved` and others as values; leave these out"
            yield Violation(f"{at}.{name}", fault)
    at = f"{at}.approval"
    if approval.on_timeout is not OnTimeout.FAIL and not approval.timeout_seconds:
        yield Violation(f"{at}.on_timeout", "there is no `timeout` after which it could happen")
    for number, permission in enumerate(approval.permissions):
        if not _PERMISSION.fullmatch(permission):
            fault = f"{permission} is no permission: write it as `invoices.approve`"
            yield Violation(f"{at}.permissions[{number}]", fault)
    for number, subject in enumerate(approval.subjects):
        place = f"{at}.subjects[{number}].step"
        other = by_name.get(subject.step)
        if subject.step != INPUT and subject.step not in step.needs:
            yield Violation(place, f"{subject.step} is not needed; add it to the step's `needs`")
        elif other is not None and other.map is not None:
            fault = f"{subject.step} is mapped: show a step that collects its outputs"
            yield Violation(place, fault)
