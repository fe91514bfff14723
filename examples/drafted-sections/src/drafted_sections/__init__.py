"""A graph for Nagaya: sections are drafted in parallel and reviewed until they are good."""

# LangGraph leaves type parameters of its methods open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import operator
from typing import Annotated, Literal, TypeAlias, TypedDict, cast

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime  # noqa: TC002 - LangGraph reads annotations
from langgraph.types import Command, Send

from nagaya_graphs import FilePointer, NodeContext, StepError


class State(TypedDict):
    """References and small values: the texts are in files."""

    input: FilePointer
    good_score: int
    most_rounds: int
    sections: int
    round: int
    score: int
    drafts: Annotated[list[FilePointer], operator.add]
    article: FilePointer


Update: TypeAlias = dict[str, object]
"""Some fields of the state."""


class Section(TypedDict):
    """What a draft of one section gets."""

    title: FilePointer


async def outline(state: State, runtime: Runtime[NodeContext]) -> Update:
    """Count the sections that the input wants."""
    sections = await runtime.context.read(state["input"].inside("/sections"))
    if not isinstance(sections, list) or not sections:
        raise StepError("NO_SECTIONS", "/sections of the input is no list", retryable=False)
    return {"sections": len(sections), "round": 0}


def to_drafts(state: State) -> list[Send]:
    """Draft all sections at once."""
    titles = (state["input"].inside(f"/sections/{n}") for n in range(state["sections"]))
    return [Send("draft", {"title": title}) for title in titles]


async def draft(state: Section, runtime: Runtime[NodeContext]) -> Update:
    """Have a model write one section."""
    return {"drafts": [await runtime.context.ask_model(title=state["title"])]}


async def review(
    state: State, runtime: Runtime[NodeContext]
) -> Command[Literal["redraft", "publish"]]:
    """Have a model judge the newest drafts; go round while they are not good."""
    context = runtime.context
    reply = await context.ask_model(drafts=_newest(state))
    score = cast("int", await context.read(reply.inside("/score")))
    rounds = state["round"] + 1
    good = score >= state["good_score"] or rounds >= state["most_rounds"]
    goto: Literal["redraft", "publish"] = "publish" if good else "redraft"
    return Command(update={"round": rounds, "score": score}, goto=goto)


async def redraft(state: State) -> Update:
    """Begin another round."""
    return {}


async def publish(state: State, runtime: Runtime[NodeContext]) -> Update:
    """Write the article out of the newest drafts."""
    context = runtime.context
    texts = [str(await context.read(file)) for file in _newest(state)]
    article = "\n\n".join(texts).encode()
    return {"article": await context.write("article.md", article, "text/markdown")}


def _newest(state: State) -> list[FilePointer]:
    return state["drafts"][-state["sections"] :]


graph = StateGraph(State, context_schema=NodeContext)
graph.add_node("outline", outline)
graph.add_node("draft", draft, input_schema=Section)
graph.add_node("review", review)
graph.add_node("redraft", redraft)
graph.add_node("publish", publish)
graph.add_edge(START, "outline")
graph.add_conditional_edges("outline", to_drafts, ["draft"])
graph.add_edge("draft", "review")
graph.add_conditional_edges("redraft", to_drafts, ["draft"])
graph.add_edge("publish", END)
