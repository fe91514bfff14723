"""Replies: their file, and the fact about them that may stand in histories and logs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import Json, NotJson, compact, parse, parse_object
from llm_gateway.domain.usage import USAGE_FIELDS, FinishReason, Usage

if TYPE_CHECKING:
    from jsonvalues import JsonObject

_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_PREFIX = '{"content":'
_SCALARS: dict[type, str] = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, whole."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    provider_id: str
    model_id: str
    structured: bool
    """Whether the text is a JSON value that a schema was asked for."""
    usage_note: str = ""
    """Why the usage or its cost are estimates; empty when they are not."""

    def body(self) -> bytes:
        """Return the reply's file: one JSON object.

        A structured reply's text is taken over as it came, so that a stream resumed from the file
        counts characters as the live one did.
        """
        content = self.text if self.structured else _quoted(self.text)
        rest: JsonObject = {
            "finish_reason": self.finish_reason,
            "provider": self.provider_id,
            "model": self.model_id,
            "usage": {name: getattr(self.usage, name) for name in USAGE_FIELDS},
            **({"usage_note": self.usage_note} if self.usage_note else {}),
        }
        return f"{_PREFIX}{content},{compact(rest)[1:]}".encode()

    def summary(self) -> str:
        """Return a short fact about the reply; never an excerpt."""
        facts = [_count(len(self.text), "character")]
        if self.structured:
            facts.insert(0, _shape(parse(self.text)))
        elif headings := len(_HEADING.findall(self.text)):
            facts.append(_count(headings, "heading"))
        if self.finish_reason is not FinishReason.STOP:
            facts.append(f"ended by {self.finish_reason.replace('_', ' ')}")
        return ", ".join(facts)

    def metrics(self) -> dict[str, int]:
        """Return the numbers that are kept with the file."""
        usage = {name: getattr(self.usage, name) for name in USAGE_FIELDS}
        return {"characters": len(self.text), **usage}


@dataclass(frozen=True, slots=True)
class StoredReply:
    """What a reply's file says."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    usage_note: str


def read(body: bytes, *, structured: bool) -> StoredReply:
    """Read the file of a reply that was, or was not, asked for by a schema.

    Raises NotJson when it is no reply's file.
    """
    fields = parse_object(body)
    usage, finish, content = fields.get("usage"), fields.get("finish_reason"), fields.get("content")
    if not isinstance(usage, dict) or finish not in list(FinishReason) or "content" not in fields:
        raise NotJson("not a reply")
    counts = [usage.get(name) for name in USAGE_FIELDS]
    if not all(type(count) is int for count in counts):
        raise NotJson("not a usage")
    text = _raw_content(body.decode()) if structured else str(content)
    note = fields.get("usage_note")
    return StoredReply(
        text,
        FinishReason(str(finish)),
        Usage(*map(_int, counts)),
        note if isinstance(note, str) else "",
    )


def _raw_content(file: str) -> str:
    begin = len(_PREFIX)
    while file[begin] in _SPACE:
        begin += 1
    _, end = json.JSONDecoder().raw_decode(file, begin)
    return file[len(_PREFIX) : file.index(",", end)]


def _int(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _shape(value: Json) -> str:
    if isinstance(value, dict):
        return f"an object of {_count(len(value), 'field')}"
    if isinstance(value, list):
        return f"a list of {_count(len(value), 'element')}"
    return _SCALARS[type(value)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
