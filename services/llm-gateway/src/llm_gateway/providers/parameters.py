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

from jsonvalues import NotJson, canonical, parse
from llm_gateway.domain.requests import SchemaAs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.providers.wire_format import HttpRequest, WireFormatAdapter

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
    r"less than|greater than|at most|at least|between|range|maximum|minimum|<=|>="
)
_VERSIONS = {"/v1/": "/v1beta/", "/v1beta/": "/v1/"}
_LONGEST = 2_000
_DEEPEST = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request without what was refused before, and what to do when it is refused."""

    parameters: Parameters
    address: str
    request: HttpRequest
    prompt: Prompt
    left_out: tuple[str, ...]

    def refused(self, status: int, body: bytes, url: str) -> str:
        """Return what is done otherwise the next time; empty when nothing would help."""
        version_is_ours = url.endswith(self.request.path)  # and not the address's own
        try:
            told = parse(body) if status in _STATUSES else None
        except NotJson:
            return ""
        return self.parameters.learn(self, told, version_is_ours=version_is_ours)

    @property
    def note(self) -> str:
        """What to know of the request; empty when there is nothing to know."""
        return f"sent without {', '.join(self.left_out)}, refused before" if self.left_out else ""

    def doubts(self, told: Iterable[str]) -> Iterator[str]:
        """Yield why the price may be another, unless the provider told how it served it."""
        for name in self.left_out:
            if name in PRICED and name not in told:
                yield f"{name} cannot be asked for, and the provider did not tell it"


class Parameters:
    """Remembers by the address of a provider, and there by the model."""

    def __init__(self) -> None:
        self._left_out: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._schema_as: dict[tuple[str, str, str], SchemaAs] = {}
        self._versions: dict[str, str] = {}
        self._refused_versions: defaultdict[str, set[str]] = defaultdict(set)

    def prepare(self, address: str, prompt: Prompt, adapter: WireFormatAdapter) -> Asked:
        """Return a request as its model is known to take it."""
        key = (address, prompt.model_name)
        if self._schema_as and prompt.output_schema is not None:
            schema_as = self._schema_as.get((*key, _digest(prompt)), prompt.schema_as)
            prompt = replace(prompt, schema_as=schema_as)
        request, names = adapter.request(prompt), self._left_out.get(key, set())
        version, old = self._versions.get(address), _version(request.path)
        if version is not None and old:
            request = replace(request, path=request.path.replace(old, version, 1))
        if names:
            request = replace(request, body=_without(request.body, names))
        return Asked(self, address, request, prompt, tuple(sorted(names)))

    def learn(self, asked: Asked, body: Json, *, version_is_ours: bool) -> str:
        """Read a refusal; return what is done about it, or nothing when nothing helps."""
        told = tuple(_strings(body))
        key = (asked.address, asked.prompt.model_name)
        words = self._other_version(asked, told) if version_is_ours else ""
        names = {name for name in _optional(asked.request.body) if _refused(name, told)}
        if not words and names:
            self._left_out[key] |= names
            words = f"asked again without {', '.join(sorted(names))}"
        elif not words and any(_SCHEMA.search(text) for _, text in told):
            words = self._other_way(key, asked.prompt, asked.request.body)
        if words:
            facts = {"gen_ai.request.model": key[1], "why": words, "address": asked.address}
            _log.warning("a provider refuses a part of a request", extra=facts)
        return words

    def _other_version(self, asked: Asked, told: tuple[_Told, ...]) -> str:
        """Ask under the other version of the API, if this one does not know a field."""
        version = _version(asked.request.path)
        if not version or not any(_UNKNOWN_FIELD.search(text) for _, text in told):
            return ""
        refused = self._refused_versions[asked.address]
        other = _VERSIONS[version]
        refused.add(version)
        if other in refused:
            return ""
        self._versions[asked.address] = other
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


def _refused(parameter: str, told: tuple[_Told, ...]) -> bool:
    """Whether an error refuses a parameter, and not its value, which was the caller's."""
    wrong = any(_VALUE_IS_WRONG.search(text) for _, text in told)
    if wrong and parameter not in PRICED:
        return False
    return any(_names(place, text, parameter) for place, text in told)


def _names(place: str, text: str, parameter: str) -> bool:
    """Whether a text of an error names a parameter; it may be written in either way."""
    words = parameter if "_" in parameter else re.sub(r"([A-Z])", r"_\1", parameter).lower()
    either = f"(?:{parameter}|{words})"
    if place in ("param", "field", "loc"):
        return re.fullmatch(rf"(?:[\w.]+\.)?{either}", text) is not None
    if "_" in words:
        return re.search(rf"(?<![\w]){either}(?![\w])", text) is not None
    quoted = re.search(rf"(?:^|[\s(.])[`'\"]?{either}[`'\"]?(?:[`'\":]|\s+is\b)", text)
    return quoted is not None


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
    for outer, inner in (("text", "format"), ("response_format", "json_schema")):
        form = body.get(outer)
        told = form.get(inner) if isinstance(form, dict) else None
        if isinstance(told, dict) and told.get("strict") is True:
            return True
    return False


def _version(path: str) -> str:
    return next((version for version in _VERSIONS if path.startswith(version + "models/")), "")


def _digest(prompt: Prompt) -> str:
    schema = prompt.output_schema
    return "" if schema is None else hashlib.sha256(canonical(schema.definition)).hexdigest()
