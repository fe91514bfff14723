"""Parameters that a provider or a model rejected, and requests without them.

A response that rejects a parameter costs nothing. An optional parameter is then omitted, and so it
is in the requests that follow, for as long as the process lives.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jsonvalues import NotJson, canonical, parse
from llm_gateway.domain.requests import SchemaMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.providers.wire_format import HttpRequest, WireFormatAdapter

_STATUSES = (400, 422)
_GENERATION = "generationConfig"
PRICED = frozenset({"service_tier", "inference_geo", "serviceTier"})
"""Parameters that ask for the service that the price list holds for."""
_OPTIONAL = PRICED | {"temperature", "store", "stream_options"}
_OLDER_NAMES = {"max_completion_tokens": "max_tokens"}
"""Parameters that older servers know by another name."""
_SCHEMA = re.compile(
    r"schema|output_config|response_format|text\.format|grammar|response_?json", re.IGNORECASE
)
_UNKNOWN_FIELD = re.compile(r"Unknown name \"([\w.]+)\"|Cannot find field", re.IGNORECASE)
_VALUE_IS_WRONG = re.compile(
    r"less than|greater than|at most|at least|between|range|maximum|minimum|<=|>="
)
_VERSIONS = {"/v1/": "/v1beta/", "/v1beta/": "/v1/"}
_MAX_CHARACTERS = 2_000
_MAX_DEPTH = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdaptedRequest:
    """A request without what was rejected before."""

    rejected: RejectedParameters
    base_url: str
    request: HttpRequest
    prompt: Prompt
    omitted: tuple[str, ...]

    def learn(self, status: int, body: bytes, url: str) -> str:
        """Return what the next attempt changes after an error; empty when nothing would help."""
        default_version = url.endswith(self.request.path)  # and not the base URL's own
        try:
            error = parse(body) if status in _STATUSES else None
        except NotJson:
            return ""
        return self.rejected.learn(self, error, default_version=default_version)

    @property
    def note(self) -> str:
        """What was omitted; empty when nothing was."""
        return f"sent without {', '.join(self.omitted)}, refused before" if self.omitted else ""

    def doubts(self, reported_options: Iterable[str]) -> Iterator[str]:
        """Yield why the price may differ: options that could not be set, nor are reported."""
        for name in self.omitted:
            if name in PRICED and name not in reported_options:
                yield f"{name} cannot be asked for, and the provider did not tell it"


class RejectedParameters:
    """What was rejected, by base URL and model."""

    def __init__(self) -> None:
        self._omitted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._schema_modes: dict[tuple[str, str, str], SchemaMode] = {}
        self._versions: dict[str, str] = {}
        self._refused_versions: defaultdict[str, set[str]] = defaultdict(set)

    def adapt(self, base_url: str, prompt: Prompt, adapter: WireFormatAdapter) -> AdaptedRequest:
        """Return a request without what its model is known to reject."""
        key = (base_url, prompt.model_name)
        if self._schema_modes and prompt.output_schema is not None:
            schema_mode = self._schema_modes.get((*key, _digest(prompt)), prompt.schema_mode)
            prompt = replace(prompt, schema_mode=schema_mode)
        request, names = adapter.request(prompt), self._omitted.get(key, set())
        version, old = self._versions.get(base_url), _version(request.path)
        if version is not None and old:
            request = replace(request, path=request.path.replace(old, version, 1))
        if names:
            request = replace(request, body=_without(request.body, names))
        return AdaptedRequest(self, base_url, request, prompt, tuple(sorted(names)))

    def learn(self, adapted: AdaptedRequest, error: Json, *, default_version: bool) -> str:
        """Remember what an error rejects; return what changes, empty when nothing would help."""
        texts = tuple(_strings(error))
        request, key = adapted.request, (adapted.base_url, adapted.prompt.model_name)
        change = self._change_version(adapted, texts) if default_version else ""
        names = {name for name in _optional(request.body) if _rejects(name, texts)}
        if not change and names:
            self._omitted[key] |= names
            change = f"asked again without {', '.join(sorted(names))}"
        elif not change and any(_SCHEMA.search(text) for _, text in texts):
            change = self._change_schema_mode(key, adapted.prompt, request.body)
        if change:
            _log.warning(
                "a provider refuses a part of a request",
                extra={
                    "event": "provider_request.adapted",
                    "gen_ai.request.model": key[1],
                    "why": change,
                    "address": adapted.base_url,
                },
            )
        return change

    def _change_version(self, adapted: AdaptedRequest, texts: tuple[_NamedText, ...]) -> str:
        """Use the other version of the API, if this one does not know a field."""
        version = _version(adapted.request.path)
        if not version or not any(_UNKNOWN_FIELD.search(text) for _, text in texts):
            return ""
        refused = self._refused_versions[adapted.base_url]
        other = _VERSIONS[version]
        refused.add(version)
        if other in refused:
            return ""
        self._versions[adapted.base_url] = other
        fields = [found[1] for _, text in texts for found in _UNKNOWN_FIELD.finditer(text)]
        named = ", ".join(dict.fromkeys(filter(None, fields)))[:100] or "a field"
        return (
            f"{version[:-1]} does not know {named}, asked again under {other[:-1]};"
            " an api_base_url that ends in a version fixes it"
        )

    def _change_schema_mode(self, key: tuple[str, str], prompt: Prompt, body: JsonObject) -> str:
        """Send the schema in the next mode after the one that was rejected."""
        if prompt.output_schema is None or prompt.schema_mode is SchemaMode.IN_PROMPT:
            return ""
        strict = prompt.schema_mode is SchemaMode.STRICT and _holds_strict(body)
        schema_mode = SchemaMode.LENIENT if strict else SchemaMode.IN_PROMPT
        self._schema_modes[*key, _digest(prompt)] = schema_mode
        how = "without being strict about it" if strict else "in words"
        return f"it refuses the output schema, asked for {how}"


_NamedText = tuple[str, str]


def _optional(body: JsonObject) -> Iterator[str]:
    """Yield the parameters of a request that can be omitted or renamed."""
    inner = body.get(_GENERATION)
    for holder in (body, inner if isinstance(inner, dict) else {}):
        yield from (name for name in holder if name in _OPTIONAL or name in _OLDER_NAMES)


def _rejects(parameter: str, texts: tuple[_NamedText, ...]) -> bool:
    """Whether an error rejects a parameter, and not only its value, which is the caller's."""
    wrong = any(_VALUE_IS_WRONG.search(text) for _, text in texts)
    if wrong and parameter not in PRICED:
        return False
    return any(_names(place, text, parameter) for place, text in texts)


def _names(place: str, text: str, parameter: str) -> bool:
    """Whether a text of an error names a parameter, in snake case or camel case."""
    words = parameter if "_" in parameter else re.sub(r"([A-Z])", r"_\1", parameter).lower()
    either = f"(?:{parameter}|{words})"
    if place in ("param", "field", "loc"):
        return re.fullmatch(rf"(?:[\w.]+\.)?{either}", text) is not None
    if "_" in words:
        return re.search(rf"(?<![\w]){either}(?![\w])", text) is not None
    quoted = re.search(rf"(?:^|[\s(.])[`'\"]?{either}[`'\"]?(?:[`'\":]|\s+is\b)", text)
    return quoted is not None


def _strings(value: Json, place: str = "", depth: int = 0) -> Iterator[_NamedText]:
    """Yield every text of an error's body, with the name of its member."""
    if isinstance(value, str):
        yield place, value[:_MAX_CHARACTERS]
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        for name, child in value.items():
            yield from _strings(child, name, depth + 1)
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for child in value:
            yield from _strings(child, place, depth + 1)


def _without(body: JsonObject, names: set[str]) -> JsonObject:
    made: JsonObject = {}
    for name, value in body.items():
        if name in names and name not in _OLDER_NAMES:
            continue
        if name == _GENERATION and isinstance(value, dict):
            made[name] = {key: each for key, each in value.items() if key not in names}
        else:
            made[_OLDER_NAMES.get(name, name) if name in names else name] = value
    return made


def _holds_strict(body: Mapping[str, Json]) -> bool:
    for outer, inner in (("text", "format"), ("response_format", "json_schema")):
        form = body.get(outer)
        schema = form.get(inner) if isinstance(form, dict) else None
        if isinstance(schema, dict) and schema.get("strict") is True:
            return True
    return False


def _version(path: str) -> str:
    return next((version for version in _VERSIONS if path.startswith(version + "models/")), "")


def _digest(prompt: Prompt) -> str:
    schema = prompt.output_schema
    return "" if schema is None else hashlib.sha256(canonical(schema.definition)).hexdigest()
