"""DBOS, as in its documentation, with a workflow of three steps: what runs are measured beside.

    python dbos_app.py worker|client|inside DATABASE_URL

`worker` works off a queue; `client` puts workflows into it from a process of its own and waits for
their results; `inside` calls the workflow in its own process, which needs no queue. All print
`ready` first. For every line `CLIENTS SECONDS` the last two print what they did as JSON. Runs in
an environment of its own: it imports nothing of Nagaya.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dbos import DBOS, DBOSClient

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE, WORKFLOW = "bench", "three_steps"
# The default is a second; with less than this the polls take the processor from the work.
POLL_SECONDS = 0.05


@DBOS.step()
def nothing(step: str) -> str:
    return step


@DBOS.workflow(name=WORKFLOW)
def three_steps(name: str) -> str:
    for step in ("first", "second", "third"):
        nothing(step)
    return name


def load(run: Callable[[], object], clients: int, seconds: float) -> dict[str, float]:
    """Let so many clients, each a thread, run workflows one after another."""
    took: list[float] = []
    cpu, began = time.process_time(), time.monotonic()

    def client() -> None:
        while time.monotonic() < began + seconds:
            sent = time.perf_counter()
            run()
            took.append(1000 * (time.perf_counter() - sent))

    with ThreadPoolExecutor(clients) as threads:
        for future in [threads.submit(client) for _ in range(clients)]:
            future.result()
    took.sort()
    return {
        "calls": len(took),
        "seconds": time.monotonic() - began,
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[len(took) * 99 // 100],
        "cpu_seconds": time.process_time() - cpu,
    }


def serve(run: Callable[[], object]) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        clients, seconds = line.split()
        print(json.dumps(load(run, int(clients), float(seconds))), flush=True)


def main(kind: str, url: str) -> None:
    if kind == "client":
        client = DBOSClient(system_database_url=url)

        def through_queue() -> None:
            options = {"queue_name": QUEUE, "workflow_name": WORKFLOW}
            handle = client.enqueue(options, uuid.uuid4().hex)
            handle.get_result(polling_interval_sec=POLL_SECONDS / 2)

        serve(through_queue)
        return
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    if kind == "inside":
        serve(lambda: three_steps(uuid.uuid4().hex))
    else:
        DBOS.register_queue(QUEUE, polling_interval_sec=POLL_SECONDS)
        print("ready", flush=True)
        sys.stdin.read()
    DBOS.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
