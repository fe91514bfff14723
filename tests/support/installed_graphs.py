"""Graphs for pipelines, installed beside the worker as a customer installs theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MODULE = '''
import asyncio
import json
import operator
import os
import time
from typing import Annotated, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt

from nagaya_functions import StepError
from nagaya_graphs import FilePointer, NodeContext


class State(TypedDict, total=False):
    input: FilePointer
    log: str
    seconds: float
    tools: int
    rounds: int
    asks: bool
    plan: FilePointer
    found: Annotated[list[FilePointer], operator.add]
    round: int
    approved: str
    text: FilePointer


class Tool(TypedDict, total=False):
    log: str
    seconds: float
    plan: FilePointer
    number: int


async def plan(state: State, runtime: Runtime[NodeContext]) -> State:
    """Ask a model for a plan, of which the state gets the reference."""
    note(state, runtime, "began")
    context = runtime.context
    reply = await context.ask_model(topic=context.outputs["input"][0].inside("/topic"))
    return {"plan": reply, "round": 0}


def to_tools(state: State) -> list[Send]:
    about = {name: state[name] for name in ("log", "seconds", "plan")}
    return [Send("tool", {**about, "number": number}) for number in range(1, state["tools"] + 1)]


def to_many(state: State) -> list[Send]:
    about = {name: state[name] for name in ("log", "seconds")}
    return [Send("tool", {**about, "number": number}) for number in range(1, state["tools"] + 1)]


async def tool(state: Tool, runtime: Runtime[NodeContext]) -> State:
    """Write a file, which takes a while."""
    note(state, runtime, "began")
    await asyncio.sleep(state["seconds"])
    read = str(await runtime.context.read(state["plan"]))
    found = {"number": state["number"], "plan": read}
    data = json.dumps(found).encode()
    file = await runtime.context.write("found.json", data, "application/json")
    note(state, runtime, "ended")
    return {"found": [file]}


async def critic(
    state: State, runtime: Runtime[NodeContext]
) -> Command[Literal["again", "decide"]]:
    """Ask a model about what was found, and go round as often as the state says."""
    note(state, runtime, "began")
    await runtime.context.ask_model(found=state["found"])
    done = state["round"] + 1
    goto = "again" if done < state["rounds"] else "decide"
    return Command(update={"round": done}, goto=goto)


async def again(state: State, runtime: Runtime[NodeContext]) -> State:
    note(state, runtime, "began")
    return {}


async def decide(state: State, runtime: Runtime[NodeContext]) -> State:
    """Ask a person, after a call that must not be paid again."""
    note(state, runtime, "began")
    await runtime.context.ask_model(round=str(state["round"]))
    if not state["asks"]:
        return {"approved": "nobody asked"}
    decision = interrupt("publish")
    return {"approved": decision["decision"]}


async def write(state: State, runtime: Runtime[NodeContext]) -> State:
    note(state, runtime, "began")
    found = [await runtime.context.read(file) for file in state["found"]]
    text = json.dumps([state["approved"], found]).encode()
    return {"text": await runtime.context.write("text.json", text, "application/json")}


async def bloats(state: State) -> State:
    return {"approved": "a body " * 1_000}


async def grows(state: State) -> State:
    return {"found": [state["input"]] * 12}


async def first(state: State, runtime: Runtime[NodeContext]) -> State:
    note(state, runtime, "began")
    return {"round": 1}


async def mended(state: State, runtime: Runtime[NodeContext]) -> State:
    """Fail for good, until somebody has mended what it needs."""
    note(state, runtime, "began")
    if not os.path.exists(state["log"] + ".mended"):
        raise StepError("NOT_MENDED", "what the node needs is not there", retryable=False)
    return {}


async def picky(state: Tool, runtime: Runtime[NodeContext]) -> State:
    """Fail for good if a file names its number; take as long as it is told while it names any."""
    note(state, runtime, "began")
    refused = json.loads(open(state["log"] + ".refused").read())
    if state["number"] in refused:
        raise StepError("NOT_NOW", "what the node needs is not there", retryable=False)
    await asyncio.sleep(state["seconds"] if refused else 0)
    return {}


async def raises(state: State) -> State:
    raise ValueError("a secret of the node")


async def asks(state: State, runtime: Runtime[NodeContext]) -> State:
    return {"plan": await runtime.context.ask_model(topic="x")}


async def interrupts(state: State) -> State:
    return {"approved": interrupt("nobody-lists-it")["decision"]}


def bad_route(state: State) -> str:
    raise ValueError("a secret of the route")


def note(state, runtime, word):
    if "log" in state:
        context = runtime.context
        line = json.dumps({"word": word, "time": time.time(), "run_id": context.run_id,
                           "step": context.step, "item": context.item, "visit": context.visit})
        file = os.open(state["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, line.encode() + b"\\n")
        os.close(file)


def research():
    graph = StateGraph(State, context_schema=NodeContext)
    graph.add_node("plan", plan)
    graph.add_node("tool", tool, input_schema=Tool)
    graph.add_node("critic", critic)
    graph.add_node("again", again)
    graph.add_node("decide", decide)
    graph.add_node("write", write)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", to_tools, ["tool"])
    graph.add_conditional_edges("again", to_tools, ["tool"])
    graph.add_edge("tool", "critic")
    graph.add_edge("decide", "write")
    graph.add_edge("write", END)
    return graph


def of_one(node):
    graph = StateGraph(State)
    graph.add_node("only", node)
    graph.add_edge(START, "only")
    graph.add_edge("only", END)
    return graph


def mending():
    graph = StateGraph(State)
    graph.add_node("first", first)
    graph.add_node("mended", mended)
    graph.add_edge(START, "first")
    graph.add_edge("first", "mended")
    graph.add_edge("mended", END)
    return graph


def spreading():
    graph = StateGraph(State)
    graph.add_node("first", first)
    graph.add_node("tool", picky, input_schema=Tool)
    graph.add_edge(START, "first")
    graph.add_conditional_edges("first", to_many, ["tool"])
    graph.add_edge("tool", END)
    return graph


def growing():
    graph = StateGraph(State)
    for name in ("first", "second", "third"):
        graph.add_node(name, grows)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", "third")
    return graph


def astray():
    graph = of_one(again_and_again)
    graph.add_conditional_edges("only", bad_route, ["only"])
    return graph


async def again_and_again(state: State) -> State:
    return {}


def endless():
    graph = StateGraph(State)
    graph.add_node("only", again_and_again)
    graph.add_edge(START, "only")
    graph.add_edge("only", "only")
    return graph


bloated = of_one(bloats)
raising = of_one(raises)
unlisted = of_one(asks)
quick = of_one(again_and_again)
interrupting = of_one(interrupts)
'''

_GRAPHS = (
    "research",
    "bloated",
    "growing",
    "raising",
    "astray",
    "endless",
    "unlisted",
    *("interrupting", "quick", "mending", "spreading"),
)


def install_graphs(folder: Path) -> None:
    """Write a distribution into a folder that is to be on the worker's path."""
    folder.mkdir(exist_ok=True)
    (folder / "installed_graphs.py").write_text(_MODULE)
    about = folder / "installed_graphs-1.0.dist-info"
    about.mkdir()
    metadata = "Metadata-Version: 2.1\nName: installed-graphs\nVersion: 1.0\n"
    (about / "METADATA").write_text(metadata)
    lines = (f"test.{name} = installed_graphs:{name}\n" for name in _GRAPHS)
    (about / "entry_points.txt").write_text("[nagaya.graphs]\n" + "".join(lines))
