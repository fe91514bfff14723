"""What a node returns, as JSON: the output of its step, from which the graph goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from langgraph.types import Command, Send

from jsonvalues import canonical
from nagaya_functions import StepError
from nagaya_graphs.state import INVALID, STATE_BYTES, TOO_LARGE, decode_state, encode_state

if TYPE_CHECKING:
    from jsonvalues import JsonValue

_UPDATE, _GOTO, _NODE, _STATE = "update", "goto", "node", "state"


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The update of the state that a node returns, and the nodes that it names."""

    update: Mapping[str, JsonValue] = field(default_factory=dict[str, "JsonValue"])
    goto: Sequence[JsonValue] = ()
    """Names of nodes, or `{"node": …, "state": …}` for a Send."""

    @classmethod
    def of(cls, returned: object, fields: Collection[str]) -> NodeResult:
        """Take what a node's function has returned; `fields` are those of the graph's state.

        Raises StepError: STATE_TOO_LARGE, STATE_INVALID, NODE_RESULT_INVALID.
        """
        result = cls._of(returned, fields)
        if (size := len(canonical(result.as_json()))) > STATE_BYTES:
            raise StepError(
                TOO_LARGE,
                f"the update and the Sends of the node take {size:,} bytes, at most "
                f"{STATE_BYTES:,} are possible: let a conditional edge make the Sends",
                retryable=False,
            )
        return result

    @classmethod
    def _of(cls, returned: object, fields: Collection[str]) -> NodeResult:
        if not isinstance(returned, Command):
            return cls(_update(returned, fields))
        command = cast("Command[str]", returned)
        if command.graph is not None or command.resume is not None:
            raise _invalid(
                "a Command with `graph` or `resume`: a node may give `update` and `goto`"
            )
        targets = command.goto if isinstance(command.goto, (list, tuple)) else [command.goto]
        return cls(
            _update(command.update, fields),
            [_target(target) for target in cast("Sequence[object]", targets)],
        )

    @classmethod
    def parse(cls, value: JsonValue) -> NodeResult:
        """Read what `as_json` has returned."""
        found = cast("Mapping[str, JsonValue]", value)
        update = cast("Mapping[str, JsonValue]", found.get(_UPDATE, {}))
        return cls(update, cast("Sequence[JsonValue]", found.get(_GOTO, ())))

    def as_json(self) -> dict[str, JsonValue]:
        """Return the result as the output of the node's step."""
        goto: dict[str, JsonValue] = {_GOTO: list(self.goto)} if self.goto else {}
        return {_UPDATE: dict(self.update), **goto}

    def for_langgraph(self) -> Command[str] | dict[str, object]:
        """Return what LangGraph goes on with."""
        update = decode_state(self.update)
        return (
            Command(update=update, goto=list(map(_destination, self.goto))) if self.goto else update
        )


def _update(update: object, fields: Collection[str]) -> dict[str, JsonValue]:
    if update is None:
        return {}
    if not isinstance(update, Mapping):
        raise _invalid(f"a {type(update).__name__}: a node returns a dict, a Command or None")
    given = cast("Mapping[str, object]", update)
    unknown = sorted(str(name) for name in given if name not in fields)
    if unknown:
        raise StepError(INVALID, f"the graph's state has no field {unknown[0]}", retryable=False)
    return encode_state(given)


def _target(target: object) -> JsonValue:
    if not isinstance(target, Send):
        return str(target)
    if not isinstance(target.arg, Mapping):
        raise _invalid(f"a Send with a {type(target.arg).__name__}: it carries a dict")
    return {_NODE: target.node, _STATE: encode_state(cast("Mapping[str, object]", target.arg))}


def _destination(target: JsonValue) -> str | Send:
    if not isinstance(target, Mapping):
        return str(target)
    return Send(str(target[_NODE]), decode_state(cast("Mapping[str, JsonValue]", target[_STATE])))


def _invalid(what: str) -> StepError:
    return StepError("NODE_RESULT_INVALID", f"the node returned {what}", retryable=False)
