"""Names of the parts, as in `status`, `logs` and `var/dev/pids.json`, and of their ports."""

from __future__ import annotations

from nagaya_local.errors import UsageInvalid

SERVICES = ("tenant", "artifacts", "llm-gateway", "runs")
WORKER = "runs-worker"
INFRASTRUCTURE = ("postgres", "s3", "temporal", "llmstub")
PARTS = (*INFRASTRUCTURE, *SERVICES, WORKER, "envoy")
PORTS = (
    *INFRASTRUCTURE,
    "temporal-ui",
    *SERVICES,
    *(f"{name}-metrics" for name in (*SERVICES, WORKER)),
    *(f"envoy-{name}" for name in SERVICES),
    "envoy-admin",
)


def check_parts(names: tuple[str, ...]) -> None:
    """Raises UsageInvalid when there is no part of one of the names."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise UsageInvalid(
            f"there is no part {', '.join(unknown)}", f"The parts are {', '.join(PARTS)}."
        )
