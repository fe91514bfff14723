"""What the runs service refuses since no worker has what a pipeline calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servicekit.errors import Violation


class NotInstalled(InvalidInput):
    """No worker has what the pipeline's steps call."""

    reason = "ERROR_REASON_NOT_INSTALLED"
    hint = (
        "Correct the name in a new version of the pipeline, or install the function or graph "
        "beside a worker of the pipeline's task queue and start that."
    )

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        others = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{others}", violations=violations)
