"""The article pipeline of examples/, as tests use it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.public_api import create_pipeline, create_prompt

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "article"
PIPELINE = "article"


async def load_article(client: Client, tenant_id: str, *, remark: str = "") -> None:
    """Give a tenant the article's prompts and pipeline; `remark` is added to each prompt."""
    for path in sorted((EXAMPLE / "prompts").glob("*.md")):
        await create_prompt(client, tenant_id, path.stem, path.read_text() + remark)
    spec = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())
    name = spec.pop("pipeline")
    await create_pipeline(client, tenant_id, name, spec)


def brief(name: str = "heat-pumps") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXAMPLE / "briefs" / f"{name}.json").read_text())
    return loaded


def check_output(stack: LocalStack, out: str, target: Path, *, request_id: str) -> None:
    """Fail the test unless a client's example has printed what it did, and done it.

    `target` is where it has stored the result; `request_id` is the form of the client's own ids.
    """
    tenant, pipeline, run, uploaded, *events, cost, result, refused = out.splitlines()
    assert pipeline == "pipeline article version 1"
    tenant_id, run_id = tenant.removeprefix("tenant "), run.removeprefix("run ")
    path = f"storage/{tenant_id}/{run_id}/input/output.json"
    assert uploaded == f"input {path} {_sha256(EXAMPLE / 'briefs' / 'heat-pumps.json')}"
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert "polish 0 STEP_STATE_COMPLETED openai/gpt-6.2-sol" in events[-2]
    assert events[-1].endswith(" RUN_STATE_COMPLETED")
    assert re.fullmatch(r"cost \$0\.\d{4} for \d+ tokens", cost)
    stored = stack.file(f"storage/{tenant_id}/{run_id}/polish/output.json").read_bytes()
    assert target.read_bytes() == stored
    assert result == f"result {target} {len(stored)} bytes {_sha256(target)}"
    assert re.fullmatch(
        f"refused ERROR_REASON_PIPELINE_NOT_FOUND no-such-pipeline {request_id}", refused
    )
    assert stack.requests_of(run_id) > 0


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
