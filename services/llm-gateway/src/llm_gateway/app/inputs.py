"""Joining a request's parts into what a model reads."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import TYPE_CHECKING

from jsonvalues import (
    NothingThere,
    NotJson,
    at,
    compact,
    parse,
    scalar_text,
)
from llm_gateway.domain.files import INPUT_LIMIT, File
from llm_gateway.domain.requests import Pointer, Prompt, Text, Turn
from llm_gateway.domain.usage import BYTES_PER_TOKEN
from llm_gateway.errors import InputInvalid, InputTooLarge, PromptBlank
from llm_gateway.routing.rules import output_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_gateway.domain.models import Model
    from llm_gateway.domain.requests import GenerationSpec, Part
    from llm_gateway.peers.artifacts import Artifacts

_AT_ONCE = 256 << 10
_JSON = ".json"
_UNSEEN = ("Cc", "Cf")
_NOTHING = ("null", "[]", "{}")
"""What empty values are joined as; words that say nothing when they are all there is."""
# Twice the usual size of a token, so that nothing is refused that a provider might take.
_SURELY = 2 * BYTES_PER_TOKEN


class Inputs:
    """Reads, verifies and joins; the files, and all that is joined, are 32 MiB at most."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def join(self, tenant_id: str, spec: GenerationSpec, model: Model) -> Prompt:
        """Return what to send to a model. Raises InputInvalid, InputTooLarge, Unavailable."""
        files = dict.fromkeys(
            File(part.path, part.digest) for part in spec.parts() if isinstance(part, Pointer)
        )
        found: Mapping[File, bytes] = {}
        if files:
            found = await self._artifacts.read(tenant_id, tuple(files), INPUT_LIMIT)
        if sum(map(len, found.values())) > _AT_ONCE:
            return await asyncio.to_thread(_prompt, spec, model, found)
        return _prompt(spec, model, found)


def _prompt(spec: GenerationSpec, model: Model, found: Mapping[File, bytes]) -> Prompt:
    joiner = _Joiner(found)
    system = joiner.joined(spec.system)
    turns = tuple(
        Turn(message.role, joiner.turn(number, message.parts))
        for number, message in enumerate(spec.messages, 1)
    )
    limit = model.capabilities.max_input_tokens
    if joiner.utf8_bytes > limit * _SURELY:
        raise InputTooLarge(model_id=model.id, limit_tokens=str(limit))
    return Prompt(
        model_name=model.name,
        system=system if _says_something(system) else "",
        turns=turns,
        max_output_tokens=output_limit(model, spec.max_output_tokens),
        temperature=spec.temperature,
        output_schema=spec.output_schema,
        utf8_bytes=joiner.utf8_bytes,
    )


class _Joiner:
    """Joins parts, and counts: one file may stand in many of them."""

    def __init__(self, found: Mapping[File, bytes]) -> None:
        self._found = found
        self.utf8_bytes = 0

    def joined(self, parts: Iterable[Part]) -> str:
        return "".join(map(self._text, parts))

    def turn(self, number: int, parts: Iterable[Part]) -> str:
        """Return a turn's text. Raises PromptBlank when no part of it says anything."""
        said = [(part, self._text(part)) for part in parts]
        if any(_is_said(part, text) for part, text in said):
            return "".join(text for _, text in said)
        pointers = [part for part, _ in said if isinstance(part, Pointer)]
        first = pointers[0] if pointers else Pointer("", "", "")
        raise PromptBlank(number, first.path, first.json_pointer)

    def _text(self, part: Part) -> str:
        if isinstance(part, Text):
            text = part.text
        else:
            text = _text_at(part, self._found[File(part.path, part.digest)])
        self.utf8_bytes += len(text.encode())
        if self.utf8_bytes > INPUT_LIMIT:
            raise InputTooLarge(limit_bytes=str(INPUT_LIMIT))
        return text


def _is_said(part: Part, text: str) -> bool:
    """Whether a part says anything; an empty value says nothing, though it is joined as a word."""
    empty = isinstance(part, Pointer) and text.strip() in _NOTHING
    return not empty and _says_something(text)


def _says_something(text: str) -> bool:
    """Whether there is a character to be seen: no space, no control, nothing of no width."""
    return any(not c.isspace() and unicodedata.category(c) not in _UNSEEN for c in text)


def _text_at(pointer: Pointer, content: bytes) -> str:
    """Return the text of a file, or of a value inside it: a JSON string as what it says."""
    try:
        if not pointer.json_pointer and not _holds_a_string(pointer, content):
            return content.decode()
        value = at(parse(content), pointer.json_pointer)
    except UnicodeDecodeError:
        raise _invalid("it is not UTF-8", pointer) from None
    except NotJson:
        raise _invalid("it is no JSON", pointer) from None
    except NothingThere:
        raise _invalid(f"nothing is at {pointer.json_pointer}", pointer) from None
    return scalar_text(value if isinstance(value, str) else compact(value))


def _holds_a_string(pointer: Pointer, content: bytes) -> bool:
    return pointer.path.endswith(_JSON) and content.lstrip()[:1] == b'"'


def _invalid(problem: str, pointer: Pointer) -> InputInvalid:
    return InputInvalid(problem, pointer.path, pointer.json_pointer)
