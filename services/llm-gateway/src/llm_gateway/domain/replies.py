"""Replies: their file, and the summary of them that histories and logs may contain."""

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
_BYTE_ORDER_MARK = "\ufeff"
_AROUND = _SPACE + _BYTE_ORDER_MARK
_BACKTICKS = "```"
_OPENING = re.compile(r"```[A-Za-z0-9_-]{0,20}[ \t]*")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply of a model."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    provider_id: str
    model_id: str
    structured: bool
    """Whether the text is a JSON value that a schema was asked for."""
    usage_note: str = ""
    """Why the usage or its cost are estimates; empty when they are not."""
    unreadable: int = 0
    """How many characters came as bytes that are no UTF-8; U+FFFD stands for each."""

    @property
    def json(self) -> str:
        """The JSON of a structured reply: its text, without a Markdown code block around it."""
        return self._parts()[1]

    def body(self) -> bytes:
        """Return the reply's file: one JSON object.

        A structured reply's JSON is stored as it was received, so that a stream resumed from the
        file counts characters as the live one did; the text around it is stored as `around`.
        """
        before, inside, after = self._parts()
        content = inside if self.structured else _quoted(self.text)
        rest: JsonObject = {
            "finish_reason": self.finish_reason,
            "provider": self.provider_id,
            "model": self.model_id,
            "usage": {name: getattr(self.usage, name) for name in USAGE_FIELDS},
            **({"usage_note": self.usage_note} if self.usage_note else {}),
            **({"around": [before, after]} if before or after else {}),
        }
        return f"{_PREFIX}{content},{compact(rest)[1:]}".encode()

    def summary(self) -> str:
        """Return a short description of the reply; never an excerpt."""
        facts = [_count(len(self.text), "character")]
        if self.structured:
            facts.insert(0, _shape(parse(self.json)))
        elif headings := len(_HEADING.findall(self.text)):
            facts.append(_count(headings, "heading"))
        if self.finish_reason is not FinishReason.STOP:
            facts.append(f"ended by {self.finish_reason.replace('_', ' ')}")
        if self.unreadable:
            facts.append(f"{_count(self.unreadable, 'character')} unreadable")
        return ", ".join(facts)

    def metrics(self) -> dict[str, int]:
        """Return the metrics that are stored with the file."""
        usage = {name: getattr(self.usage, name) for name in USAGE_FIELDS}
        unreadable = {"unreadable_characters": self.unreadable} if self.unreadable else {}
        return {"characters": len(self.text), **usage, **unreadable}

    def _parts(self) -> tuple[str, str, str]:
        """Return the text before a structured reply's JSON, the JSON, and the text after it."""
        if not self.structured:
            return "", self.text, ""
        begin, end = _json_span(self.text)
        return self.text[:begin], self.text[begin:end], self.text[end:]


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The content of a reply's file."""

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
    around = fields.get("around")
    if structured and isinstance(around, list):
        before, after = map(str, around)
        text = before + text + after
    note = fields.get("usage_note")
    return StoredReply(
        text,
        FinishReason(str(finish)),
        Usage(*map(_int, counts)),
        note if isinstance(note, str) else "",
    )


def _json_span(text: str) -> tuple[int, int]:
    """Return where the JSON begins and ends inside a code block; the whole text without one.

    ```json
    {"a": "code block, as models write it"}
    ```
    """
    begin = len(text) - len(text.lstrip(_AROUND))
    end = len(text.rstrip(_AROUND))
    if end - begin < 2 * len(_BACKTICKS) or not text.endswith(_BACKTICKS, begin, end):
        return (begin, len(text)) if text.startswith(_BYTE_ORDER_MARK) else (0, len(text))
    opening = _OPENING.match(text, begin)
    return (0, len(text)) if opening is None else (opening.end(), end - len(_BACKTICKS))


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
