"""The script: rules that say which calls meet which fault, and how often each has fired."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from llmstub import faults
from llmstub.domain import PROVIDERS, RequestRefused
from llmstub.json_fields import JsonFields
from llmstub.settings import Latency

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmstub.domain import JsonObject, Provider
    from llmstub.faults import Action

_MATCH = {"provider", "model", "path", "contains", "idempotency", "stream", "nth"}
_RULE = {"name", "match", "action", "times", "latency"}


@dataclass(frozen=True, slots=True)
class CallAttributes:
    """The attributes of a call that a rule may match."""

    provider: Provider
    model: str
    prompt: str
    idempotency: str
    stream: bool
    path: str


@dataclass(slots=True)
class Rule:
    """One rule of a script; `matched` and `fired` count the calls since it was set."""

    name: str
    action: Action
    delay_ms: int = 0
    provider: str | None = None
    model: str | None = None
    path: str | None = None
    contains: str | None = None
    idempotency: str | None = None
    stream: bool | None = None
    nth: frozenset[int] = frozenset()  # of the calls that match; empty: every one
    times: int | None = None
    latency: Latency | None = None
    matched: int = 0
    fired: int = 0

    def matches(self, attributes: CallAttributes) -> bool:
        return (
            self.provider in (None, attributes.provider)
            and self.model in (None, attributes.model)
            and self.idempotency in (None, attributes.idempotency)
            and self.stream in (None, attributes.stream)
            and (self.path is None or self.path in attributes.path)
            and (self.contains is None or self.contains in attributes.prompt)
        )

    def is_due(self) -> bool:
        """Whether the call that was counted last is one of those that the rule is for."""
        is_left = self.times is None or self.fired < self.times
        return is_left and (not self.nth or self.matched in self.nth)


class Script:
    """The rules in their order, with their counts."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, given: object) -> list[str]:
        """Add rules after those that stand, and return their names.

        Takes a list of rules, or an object with `rules`. Raises RequestRefused(400) with what is
        wrong, and adds none then.
        """
        body = {"rules": cast("object", given)} if isinstance(given, list) else given
        rules = JsonFields(body, "script").children("rules")
        added = [_rule(fields, len(self._rules) + n) for n, fields in enumerate(rules, 1)]
        names = [rule.name for rule in (*self._rules, *added)]
        if len(set(names)) < len(names):
            raise RequestRefused(400, "script.rules: two rules of the same name")
        self._rules += added
        return [rule.name for rule in added]

    def remove(self, name: str | None = None) -> int:
        """Remove a rule, or all, and return how many there were."""
        before = len(self._rules)
        self._rules = [rule for rule in self._rules if name not in (None, rule.name)]
        return before - len(self._rules)

    def fire(self, attributes: CallAttributes) -> Rule | None:
        """Count a call for every rule that it matches; return the first that is due, if any."""
        firing: Rule | None = None
        for rule in self._rules:
            if rule.matches(attributes):
                rule.matched += 1
                if firing is None and rule.is_due():
                    firing = rule
        if firing is not None:
            firing.fired += 1
        return firing

    def fired(self, name: str) -> int:
        return sum(rule.fired for rule in self._rules if rule.name == name)

    def state(self) -> list[JsonObject]:
        return [
            {
                "name": rule.name,
                "kind": faults.name_of(rule.action),
                "matched": rule.matched,
                "fired": rule.fired,
            }
            for rule in self._rules
        ]


def read_file(path: Path) -> object:
    """Read a script file. Raises RequestRefused(400) when it is no JSON."""
    try:
        return cast("object", json.loads(path.read_bytes()))
    except ValueError as error:
        raise RequestRefused(400, f"{path}: no JSON: {error}") from error


def _rule(rule: JsonFields, number: int) -> Rule:
    _only(rule, _RULE)
    match = rule.child("match") or JsonFields({}, rule.path("match"))
    _only(match, _MATCH)
    if match.text("provider") not in (None, *PROVIDERS):
        raise RequestRefused(400, f"{match.path('provider')}: one of {', '.join(PROVIDERS)}")
    rule.required("action")
    action = rule.child("action") or JsonFields({})
    delay = action.integer("delay_ms")
    options = {k: v for k, v in action.raw.items() if k not in ("kind", "delay_ms")}
    latency = rule.child("latency")
    return Rule(
        name=rule.text("name") or f"rule-{number}",
        action=faults.read(action.text("kind") or "", options, rule.path("action")),
        delay_ms=delay or 0,
        provider=match.text("provider"),
        model=match.text("model"),
        path=match.text("path"),
        contains=match.text("contains"),
        idempotency=match.text("idempotency"),
        stream=match.flag("stream") if "stream" in match.raw else None,
        nth=_nth(match),
        times=rule.integer("times"),
        latency=_latency(latency) if latency else None,
    )


def _nth(match: JsonFields) -> frozenset[int]:
    given = match.raw.get("nth")
    numbers: Iterable[object] = cast("list[object]", given) if isinstance(given, list) else [given]
    found = {n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and n > 0}
    if given is not None and len(found) < len(list(numbers)):
        raise RequestRefused(400, f"{match.path('nth')}: expected numbers of calls, counted from 1")
    return frozenset(found)


def _latency(latency: JsonFields) -> Latency:
    _only(latency, {"first_token_ms", "chunk_ms"})
    return Latency(
        latency.integer("first_token_ms") or 0, latency.integer("chunk_ms") or 0, jitter=0.0
    )


def _only(fields: JsonFields, known: set[str]) -> None:
    for name in fields.raw:
        if name not in known:
            raise RequestRefused(
                400, f"{fields.path(name)}: unknown; known are {', '.join(sorted(known))}"
            )
