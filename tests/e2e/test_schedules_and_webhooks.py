"""A schedule creates runs and a webhook tells of their end, through every service."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.e2e.shell import open_shell
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import receiving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.shell import Shell
    from tests.support.stack import LocalStack

PIPELINE = """
pipeline: nothing
steps:
  - step: first
    function: {function: constant, short: true}
"""


async def test_a_scheduled_run_is_made_and_its_end_is_sent_signed(
    stack: LocalStack, tmp_path: Path
) -> None:
    shell = await asyncio.to_thread(open_shell, stack)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "input.json").write_text("{}")
    async with receiving() as receiver:
        await done(shell, "pipeline", "create", str(tmp_path / "pipeline.yaml"))
        created = await done(
            shell, "webhook", "create", "ours", receiver.url, "--event", "run.completed"
        )
        given = ("-i", str(tmp_path / "input.json"), "--time-member", "due")
        await done(shell, "schedule", "create", "often", "nothing", "--every", "2", *given)

        async def came() -> bool:
            return bool(receiver.messages)

        await wait_until(came)
        await done(shell, "schedule", "delete", "often")
    message = receiver.messages[0]
    content = message.content
    run = (await done(shell, "run", "get", content["run_id"]))["run"]
    assert (run["state"], run["schedule"]) == ("RUN_STATE_COMPLETED", "often")
    assert content["data"]["sequence"] == run["lastSequence"]
    (tmp_path / "secret").write_text(created["secret"])
    (tmp_path / "body").write_bytes(message.body)
    headers = {name.lower(): value for name, value in message.headers.items()}
    files = (str(tmp_path / "body"), "--secret-file", str(tmp_path / "secret"))
    options = [
        word
        for name in ("id", "timestamp", "signature")
        for word in (f"--{name}", headers[f"webhook-{name}"])
    ]
    assert (await asyncio.to_thread(shell.run, "webhook", "verify", *files, *options)).status == 0
    shown = await done(shell, "webhook", "get", "ours")
    assert shown["endpoint"]["state"] == "WEBHOOK_ENDPOINT_STATE_ENABLED"


async def done(shell: Shell, *words: str) -> dict[str, Any]:
    """Run a command; return its answer."""
    found = await asyncio.to_thread(shell.run, *words, "-o", "json")
    assert found.status == 0, found.err
    return json.loads(found.out)
