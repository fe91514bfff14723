"""What a provider or a model was seen to refuse of a request, and the request without it.

A refusal that names a parameter costs nothing. What can be left out is left out, once, and the same
is done from the beginning for the requests that follow, for as long as the process lives.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jsonvalues import canonical
from llm_gateway.domain.requests import SchemaAs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.providers.wire_format import HttpRequest

_STATUSES = (400, 422)
_GENERATION = "generationConfig"
PRICED = frozenset({"service_tier", "inference_geo", "serviceTier"})
"""Parameters that ask for what the price list prices."""
_OPTIONAL = PRICED | {"temperature", "store", "stream_options"}
_OTHERWISE = {"max_completion_tokens": "max_tokens"}
"""Parameters that older servers know by another name."""
_SCHEMA = re.compile(
    r"schema|output_config|response_format|text\.format|grammar|response_?json", re.IGNORECASE
)
_UNKNOWN_FIELD = re.compile(r"Unknown name \"([\w.]+)\"|Cannot find field", re.IGNORECASE)
_VALUE_IS_WRONG = re.compile(
    r"less than|greater than|at most|at least|between|range|maximum value|minimum value"
)
_VERSIONS = {"/v1/": "/v1beta/", "/v1beta/": "/v1/"}
_LONGEST = 2_000
_DEEPEST = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request without what was refused before."""

    request: HttpRequest
    prompt: Prompt
    left_out: tuple[str, ...]
    may_change_version: bool


class Parameters:
    """Remembers by the address of a provider, and there by the model."""

    def __init__(self) -> None:
        self._left_out: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._schema_as: dict[tuple[str, str, str], SchemaAs] = {}
        self._versions: dict[str, str] = {}
        self._refused_versions: defaultdict[str, set[str]] = defaultdict(set)

    def prompt(self, address: str, prompt: Prompt) -> Prompt:
        """Return a prompt that tells of its schema as the model is known to take it."""
        schema_as = self._schema_as.get((address, prompt.model_name, _digest(prompt)))
        return prompt if schema_as is None else replace(prompt, schema_as=schema_as)

    def asked(
        self, address: str, prompt: Prompt, request: HttpRequest, *, versioned: bool
    ) -> Asked:
        """Return a request as its model is known to take it; an address may name the version."""
        names = self._left_out.get((address, prompt.model_name), set())
        request = replace(request, body=_without(request.body, names))
        version = self._versions.get(address)
        if version is not None and not versioned:
            old = _version(request.path)
            request = replace(request, path=request.path.replace(old, version, 1))
        return Asked(request, prompt, tuple(sorted(names)), not versioned)

    def learn(self, address: str, asked: Asked, status: int, body: Json) -> str:
        """Read a refusal; return what is done about it, or nothing when nothing helps."""
        if status not in _STATUSES:
            return ""
        told = tuple(_strings(body))
        key = (address, asked.prompt.model_name)
        names = {n for n in _optional(asked.request.body) if any(_names(t, n) for t in told)}
        if names:
            self._left_out[key] |= names
            words = f"asked again without {', '.join(sorted(names))}"
        elif words := self._other_version(address, asked, told):
            pass
        elif any(_SCHEMA.search(text) for _, text in told):
            words = self._other_way(key, asked.prompt, asked.request.body)
        if words:
            facts = {"gen_ai.request.model": key[1], "why": words, "address": address}
            _log.warning("a provider refuses a part of a request", extra=facts)
        return words

    def _other_version(self, address: str, asked: Asked, told: tuple[_Told, ...]) -> str:
        """Ask under the other version of the API, if this one does not know a field."""
        version = _version(asked.request.path)
        if not version or not any(_UNKNOWN_FIELD.search(text) for _, text in told):
            return ""
        refused = self._refused_versions[address]
        other = _VERSIONS[version]
        if not asked.may_change_version or other in refused:
            return ""
        refused.add(version)
        self._versions[address] = other
        fields = [found[1] for _, text in told for found in _UNKNOWN_FIELD.finditer(text)]
        named = ", ".join(dict.fromkeys(filter(None, fields)))[:100] or "a field"
        return (
            f"{version[:-1]} does not know {named}, asked again under {other[:-1]};"
            " an api_base_url that ends in a version fixes it"
        )

    def _other_way(self, key: tuple[str, str], prompt: Prompt, body: JsonObject) -> str:
        """Tell of the schema in another way than the one that was refused."""
        if prompt.output_schema is None or prompt.schema_as is SchemaAs.WORDS:
            return ""
        strict = prompt.schema_as is SchemaAs.RULE and _holds_strict(body)
        schema_as = SchemaAs.HINT if strict else SchemaAs.WORDS
        self._schema_as[*key, _digest(prompt)] = schema_as
        how = "without being strict about it" if strict else "in words"
        return f"it refuses the output schema, asked for {how}"


_Told = tuple[str, str]


def _optional(body: JsonObject) -> Iterator[str]:
    """Yield the parameters of a request that can be left out, or said otherwise."""
    inner = body.get(_GENERATION)
    for holder in (body, inner if isinstance(inner, dict) else {}):
        yield from (name for name in holder if name in _OPTIONAL or name in _OTHERWISE)


def _names(told: _Told, parameter: str) -> bool:
    """Whether an error's text refuses a parameter; its value may be what is wrong, of some."""
    place, text = told
    words = parameter if "_" in parameter else re.sub(r"([A-Z])", r"_\1", parameter).lower()
    either = f"(?:{parameter}|{words})"
    if place in ("param", "field", "loc"):
        named = re.fullmatch(rf"(?:[\w.]+\.)?{either}", text) is not None
        return named and (parameter in PRICED or place != "field" or True)
    if "_" in words:
        return re.search(rf"(?<![\w]){either}(?![\w])", text) is not None
    quoted = re.search(rf"(?:^|[\s(.])[`'\"]?{either}[`'\"]?(?:[`'\":]|\s+is\b)", text)
    return quoted is not None and _VALUE_IS_WRONG.search(text) is None


def _strings(value: Json, place: str = "", depth: int = 0) -> Iterator[_Told]:
    """Yield every text of an error's body, with the name that it has."""
    if isinstance(value, str):
        yield place, value[:_LONGEST]
    elif isinstance(value, dict) and depth < _DEEPEST:
        for name, child in value.items():
            yield from _strings(child, name, depth + 1)
    elif isinstance(value, list) and depth < _DEEPEST:
        for child in value:
            yield from _strings(child, place, depth + 1)


def _without(body: JsonObject, names: set[str]) -> JsonObject:
    made: JsonObject = {}
    for name, value in body.items():
        if name in names and name not in _OTHERWISE:
            continue
        if name == _GENERATION and isinstance(value, dict):
            made[name] = {key: each for key, each in value.items() if key not in names}
        else:
            made[_OTHERWISE.get(name, name) if name in names else name] = value
    return made


def _holds_strict(body: Mapping[str, Json]) -> bool:
    for name in ("text", "response_format"):
        form = body.get(name)
        inner = (
            form.get("format" if name == "text" else "json_schema")
            if isinstance(form, dict)
            else None
        )
        if isinstance(inner, dict) and inner.get("strict") is True:
            return True
    return False


def _version(path: str) -> str:
    return next((version for version in _VERSIONS if path.startswith(version + "models/")), "")


def _digest(prompt: Prompt) -> str:
    schema = prompt.output_schema
    return "" if schema is None else hashlib.sha256(canonical(schema.definition)).hexdigest()
