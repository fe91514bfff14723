"""The errors about rollouts.

DomainError
├── InvalidInput
│   └── RolloutInvalid
├── NotFound
│   └── RolloutNotFound
└── Conflict
    ├── RolloutEnded
    ├── RolloutPaused
    └── RolloutUnfinished
"""

from __future__ import annotations

from servicekit.errors import Conflict, InvalidInput, NotFound


class RolloutNotFound(NotFound):
    """No rollout has this id."""

    reason = "ERROR_REASON_ROLLOUT_NOT_FOUND"
    hint = "List the rollouts with ListRollouts."

    def __init__(self, rollout_id: str) -> None:
        super().__init__(f"there is no rollout {rollout_id}", rollout_id=rollout_id)


class RolloutInvalid(InvalidInput):
    """Waves cannot be made as they were asked for."""

    reason = "ERROR_REASON_ROLLOUT_INVALID"
    hint = "GetSchemaStatus tells which tenants lack what; percentages are such as 10, 50, 100."

    def __init__(self, problem: str, tenant_id: str = "") -> None:
        super().__init__(problem, tenant_id=tenant_id)


class RolloutUnfinished(Conflict):
    """Another rollout is running or paused."""

    reason = "ERROR_REASON_ROLLOUT_UNFINISHED"
    hint = "ResumeRollout lets it go on if it is paused; CancelOperation ends it."

    def __init__(self, rollout_id: str) -> None:
        super().__init__(f"the rollout {rollout_id} is not finished", rollout_id=rollout_id)


class RolloutEnded(Conflict):
    """The rollout is done or cancelled."""

    reason = "ERROR_REASON_ROLLOUT_ENDED"
    hint = "CreateRollout begins another one for the tenants that are still behind."

    def __init__(self, rollout_id: str, state: str) -> None:
        super().__init__(f"the rollout is {state}", rollout_id=rollout_id, state=state)


class RolloutPaused(Conflict):
    """Somebody has paused the rollout, or more tenants have failed than its budget allows."""

    reason = "ERROR_REASON_ROLLOUT_PAUSED"
    hint = "ListRolloutTenants tells what failed where; after repair ResumeRollout goes on."

    def __init__(self, rollout_id: str, failed: int, user_id: str = "") -> None:
        why = f"{user_id} has paused the rollout" if user_id else f"{failed} tenants have failed"
        super().__init__(why, rollout_id=rollout_id, failed=str(failed))
