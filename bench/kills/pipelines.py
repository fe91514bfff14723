"""The pipelines of the worker's kill run: every way in which steps follow each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

Json: TypeAlias = dict[str, Any]

MODEL = "claude-sonnet-5-5"
LONG, PIECES = 60, 20
"""How many elements a map of functions has, and one of models."""
PROMPTS = {
    step: "kills[size=300 delay=300] Go on after this: {{before}}"
    for step in ("ask-1", "ask-2", "ask-3", "each-1", "each-2")
}
FOLLOWS = {"ask-2": "ask-1", "ask-3": "ask-2", "do-2": "do-1", "do-3": "do-2"}
"""The steps of chains, and which step's output each of them reads."""
_CHAINS = ("asks", "shorts", "does", "mixed")
TURNS = (*_CHAINS, "list", *_CHAINS, "asked-list")
"""The pipelines in the order in which runs take turns."""


def pipelines(log: Path) -> dict[str, Json]:
    """Return the specs by name; their functions record in a file what they do."""
    steps = {**_chains(_Maker(log)), **_maps(_Maker(log))}
    return {name: {"steps": each} for name, each in steps.items()}


def steered_pipeline(log: Path) -> Json:
    """Return the spec of the runs that are steered: five steps, of every kind."""
    make = _Maker(log)
    steps = [
        make.do("list", seconds=0.01, count=4),
        make.ask("each-1", "list", bound={"element": {}}, map={"step": "list"}),
        make.do("do-1", "each-1", seconds=0.5),
        make.do("do-2", "do-1", seconds=0.02),
        make.ask("ask-1", "do-2"),
    ]
    return {"steps": steps}


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes steps."""

    log: Path

    def do(
        self, step: str, *needs: str, seconds: float = 0.3, count: int = 0, **more: object
    ) -> Json:
        """Make a step that calls `counted`; a short one where it takes less than 0.1 s."""
        arguments = {"log": str(self.log), "seconds": seconds, "count": count}
        kind = {"function": "test.counted", "arguments": arguments, "short": seconds < 0.1}
        return {"step": step, "needs": list(needs), "function": kind, **more}

    def ask(self, step: str, *needs: str, bound: Json | None = None, **more: object) -> Json:
        """Make a step that asks a model with the output of the first that it needs."""
        binding = {"variable": "before", **(bound or {"output": {"step": needs[0]}})}
        llm = {"bindings": [binding], "model": {"modelId": MODEL}}
        return {"step": step, "needs": list(needs), "llm": llm, **more}


def _chains(make: _Maker) -> dict[str, list[Json]]:
    return {
        "asks": [
            make.ask("ask-1", "input"),
            make.ask("ask-2", "ask-1"),
            make.ask("ask-3", "ask-2"),
        ],
        "shorts": [
            make.do("do-1", seconds=0.02),
            make.do("do-2", "do-1", seconds=0.05),
            make.do("do-3", "do-2", seconds=0.01),
        ],
        "does": [make.do("do-1"), make.do("do-2", "do-1", seconds=1.0), make.do("do-3", "do-2")],
        "mixed": [
            make.ask("ask-1", "input"),
            make.do("do-1", "ask-1"),
            make.do("do-2", "do-1", seconds=0.02),
            make.ask("ask-2", "ask-1"),
            make.ask("ask-3", "ask-2", "do-2"),
            make.do("do-3", "do-2", "ask-3", seconds=0.05),
        ],
    }


def _maps(make: _Maker) -> dict[str, list[Json]]:
    collect = {"step": "all", "function": {"function": "collect", "short": True}}
    every = {"step": "list"}
    answer = {"elementOutput": {"step": "each-1"}}
    return {
        "list": [
            make.do("list", seconds=0.01, count=LONG),
            make.do("one", "list", map=every),
            make.do("two", "one", seconds=0.02, map={"step": "one"}),
            {**collect, "needs": ["two"]},
        ],
        "asked-list": [
            make.do("list", seconds=0.01, count=PIECES),
            make.ask("each-1", "list", bound={"element": {}}, map=every),
            make.ask("each-2", "list", "each-1", bound=answer, map=every),
            make.do("three", "each-2", map={"step": "each-2"}),
            {**collect, "needs": ["three"]},
        ],
    }
