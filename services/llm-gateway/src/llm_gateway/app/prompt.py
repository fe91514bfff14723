"""Building a prompt: reads the files that a request points to, and joins its parts."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import TYPE_CHECKING

from jsonvalues import NothingThere, NotJson, at, compact, parse, scalar_text
from llm_gateway.domain.files import INPUT_LIMIT, FileRef
from llm_gateway.domain.requests import FilePointer, Prompt, Text, Turn
from llm_gateway.domain.usage import BYTES_PER_TOKEN
from llm_gateway.errors import InputInvalid, InputTooLarge, PromptBlank
from llm_gateway.routing.rules import output_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_gateway.domain.models import Model
    from llm_gateway.domain.requests import CallRequest, Part
    from llm_gateway.peers.artifacts import Artifacts

_ON_LOOP_BYTES = 256 << 10  # joined here; larger input in a thread
_JSON = ".json"
_INVISIBLE = ("Cc", "Cf")
_EMPTY_VALUES = ("null", "[]", "{}")
"""The text of empty JSON values; a turn that holds nothing else is blank."""
# Twice the usual size of a token, so that nothing is refused that a provider might take.
_MOST_BYTES_PER_TOKEN = 2 * BYTES_PER_TOKEN


class PromptBuilder:
    """Builds prompts; files, and all joined text, have 32 MiB at most."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def build(self, request: CallRequest, model: Model) -> Prompt:
        """Return the prompt for a model.

        Raises InputInvalid, InputTooLarge, PromptBlank, Unavailable.
        """
        files = dict.fromkeys(
            FileRef(part.path, part.digest)
            for part in request.parts()
            if isinstance(part, FilePointer)
        )
        given = {file: request.files[file.digest] for file in files if file.digest in request.files}
        unread = tuple(file for file in files if file not in given)
        contents: Mapping[FileRef, bytes] = given
        if unread:
            contents = given | await self._artifacts.read(request.tenant_id, unread, INPUT_LIMIT)
        if sum(map(len, contents.values())) > _ON_LOOP_BYTES:
            return await asyncio.to_thread(_prompt, request, model, contents)
        return _prompt(request, model, contents)


def _prompt(request: CallRequest, model: Model, contents: Mapping[FileRef, bytes]) -> Prompt:
    joiner = _PartJoiner(contents)
    system = joiner.join(request.system)
    turns = tuple(
        Turn(message.role, joiner.turn(number, message.parts))
        for number, message in enumerate(request.messages, 1)
    )
    limit = model.capabilities.max_input_tokens
    if joiner.utf8_bytes > limit * _MOST_BYTES_PER_TOKEN:
        raise InputTooLarge(model_id=model.id, limit_tokens=str(limit))
    return Prompt(
        model_name=model.name,
        system=system if _has_visible(system) else "",
        turns=turns,
        max_output_tokens=output_limit(model, request.max_output_tokens),
        temperature=request.temperature,
        output_schema=request.output_schema,
        utf8_bytes=joiner.utf8_bytes,
    )


class _PartJoiner:
    """Joins parts, and counts their bytes: one file may stand in many parts."""

    def __init__(self, contents: Mapping[FileRef, bytes]) -> None:
        self._contents = contents
        self.utf8_bytes = 0

    def join(self, parts: Iterable[Part]) -> str:
        return "".join(map(self._text, parts))

    def turn(self, number: int, parts: Iterable[Part]) -> str:
        """Return a turn's text. Raises PromptBlank when no part of it has content."""
        texts = [(part, self._text(part)) for part in parts]
        if any(_has_content(part, text) for part, text in texts):
            return "".join(text for _, text in texts)
        pointers = [part for part, _ in texts if isinstance(part, FilePointer)]
        first = pointers[0] if pointers else FilePointer("", "", "")
        raise PromptBlank(number, first.path, first.json_pointer)

    def _text(self, part: Part) -> str:
        if isinstance(part, Text):
            text = part.text
        else:
            text = _text_at(part, self._contents[FileRef(part.path, part.digest)])
        self.utf8_bytes += len(text.encode())
        if self.utf8_bytes > INPUT_LIMIT:
            raise InputTooLarge(limit_bytes=str(INPUT_LIMIT))
        return text


def _has_content(part: Part, text: str) -> bool:
    empty = isinstance(part, FilePointer) and text.strip() in _EMPTY_VALUES
    return not empty and _has_visible(text)


def _has_visible(text: str) -> bool:
    """Whether any character is visible: no space, no control, nothing of no width."""
    return any(not c.isspace() and unicodedata.category(c) not in _INVISIBLE for c in text)


def _text_at(pointer: FilePointer, content: bytes) -> str:
    """Return the text of a file, or of a value inside it; a JSON string without its quotes."""
    try:
        if not pointer.json_pointer and not _is_json_string(pointer, content):
            return content.decode()
        value = at(parse(content), pointer.json_pointer)
    except UnicodeDecodeError:
        raise _invalid("it is not UTF-8", pointer) from None
    except NotJson:
        raise _invalid("it is no JSON", pointer) from None
    except NothingThere:
        raise _invalid(f"nothing is at {pointer.json_pointer}", pointer) from None
    return scalar_text(value if isinstance(value, str) else compact(value))


def _is_json_string(pointer: FilePointer, content: bytes) -> bool:
    return pointer.path.endswith(_JSON) and content.lstrip()[:1] == b'"'


def _invalid(problem: str, pointer: FilePointer) -> InputInvalid:
    return InputInvalid(problem, pointer.path, pointer.json_pointer)
