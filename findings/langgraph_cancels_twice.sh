#!/bin/bash
# LangGraph 1.2.22: when a node (StateGraph) or a task (functional API) fails, what still runs beside
# it is cancelled twice. So code that awaits something in its `except CancelledError` or `finally`, such
# as telling a server that it gives up, is interrupted there. `ainvoke` raises once it has ended.
#
# Seen, for both:
#   cancelled, cancelled again, ainvoke raised
#
# Whoever must finish cleaning up does the work in a task of their own, shielded from the graph's.
# Needs uv or python -m venv.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" langgraph==1.2.22
else
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q langgraph==1.2.22
fi
cat > "$folder/show.py" <<'PYTHON'
import asyncio
from typing import TypedDict

from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph

seen: list[str] = []


class State(TypedDict):
    number: int


async def fails(_: object) -> None:
    await asyncio.sleep(0.1)
    raise ValueError


async def cleans_up(_: object) -> None:
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        seen.append("cancelled")
        try:
            await asyncio.sleep(0.5)
            seen.append("cleaned up")
        except asyncio.CancelledError:
            seen.append("cancelled again")
        raise


def state_graph():
    graph = StateGraph(State)
    for node in (fails, cleans_up):
        graph.add_node(node.__name__, node)
        graph.add_edge(START, node.__name__)
    return graph.compile()


def functional():
    first, second = task(fails), task(cleans_up)

    @entrypoint()
    async def flow(_: object) -> None:
        await asyncio.gather(second(0), first(0))

    return flow


async def main() -> None:
    for name, graph in (("StateGraph", state_graph()), ("functional API", functional())):
        seen.clear()
        try:
            await graph.ainvoke({"number": 0})
        except ValueError:
            seen.append("ainvoke raised")
        await asyncio.sleep(1)
        print(f"{name}: {', '.join(seen)}")
        assert seen == ["cancelled", "cancelled again", "ainvoke raised"], seen


asyncio.run(asyncio.wait_for(main(), 60))
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
