"""Requests for replies, and streamed replies, as messages."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from jsonvalues import PROTOBUF_LEVELS, NotJson, parse_strict
from llm_gateway.domain.calls import Delta
from llm_gateway.domain.requests import (
    CallRequest,
    FilePointer,
    Message,
    ModelNeeds,
    Role,
    Text,
    UnknownPolicy,
)
from llm_gateway.domain.schemas import OutputSchema
from llm_gateway.wire.calls import call, key_of
from llm_gateway.wire.models import choice_of
from nagaya.llm_gateway.v1 import generation_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2 as service_pb
from servicekit.errors import RequestInvalid, ValueUnstorable, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.struct_pb2 import Struct, Value

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.calls import LlmCall
    from llm_gateway.domain.requests import Part

_ROLES = {pb.ROLE_USER: Role.USER, pb.ROLE_ASSISTANT: Role.ASSISTANT}
_DECIMALS = 6  # a temperature is a 32-bit float on the wire


def request_of(
    tenant_id: str, message: pb.GenerationSpec, files: Iterable[bytes] = ()
) -> CallRequest:
    """Read a request, without its caller. Raises RequestInvalid for an unusable schema."""
    redo = message.unknown_policy == pb.UNKNOWN_POLICY_REDO
    has_temperature = message.HasField("temperature")
    return CallRequest(
        tenant_id=tenant_id,
        key=key_of(message.key),
        system=tuple(map(_part, message.system)),
        messages=tuple(map(_message, message.messages)),
        model=choice_of(message.model),
        run_model=choice_of(message.run_model),
        max_output_tokens=message.max_output_tokens,
        temperature=round(message.temperature, _DECIMALS) if has_temperature else None,
        output_schema=_schema(message),
        unknown_policy=UnknownPolicy.REDO if redo else UnknownPolicy.FAIL,
        allow_empty=message.allow_empty,
        files={hashlib.sha256(file).hexdigest(): file for file in files},
    )


def needs_of(message: service_pb.ModelNeeds) -> ModelNeeds:
    return ModelNeeds(
        message.max_output_tokens,
        json_schema=message.json_schema,
        temperature=message.temperature,
    )


def stream_response(event: Delta | LlmCall) -> service_pb.StreamGenerateResponse:
    if isinstance(event, Delta):
        return service_pb.StreamGenerateResponse(delta=_delta(event))
    return service_pb.StreamGenerateResponse(call=call(event))


def watch_response(event: Delta | LlmCall) -> service_pb.WatchCallResponse:
    if isinstance(event, Delta):
        return service_pb.WatchCallResponse(delta=_delta(event))
    return service_pb.WatchCallResponse(call=call(event))


def _delta(delta: Delta) -> service_pb.TextDelta:
    return service_pb.TextDelta(attempt=delta.attempt, offset=delta.offset, text=delta.text)


def _message(message: pb.Message) -> Message:
    return Message(_ROLES[message.role], tuple(map(_part, message.parts)))


def _part(part: pb.Part) -> Part:
    if part.WhichOneof("part") == "pointer":
        pointer = part.pointer
        return FilePointer(pointer.path, pointer.digest, pointer.json_pointer)
    return Text(part.text)


def _schema(message: pb.GenerationSpec) -> OutputSchema | None:
    if message.output_schema_json:
        return OutputSchema.parse(_parsed(message.output_schema_json))
    has_schema = message.HasField("output_schema")
    return OutputSchema.parse(_object(message.output_schema)) if has_schema else None


def _parsed(text: str) -> JsonObject:
    try:
        value = parse_strict(text, levels=PROTOBUF_LEVELS)
    except NotJson as error:
        raise _refused(str(error)) from None
    if not isinstance(value, dict):
        raise _refused("it is no JSON object")
    return value


def _refused(fault: str) -> RequestInvalid:
    field = "spec.output_schema_json"
    return RequestInvalid(f"{field}: {fault}", violations=(Violation(field, fault),))


def _object(struct: Struct) -> JsonObject:
    # A map has no order on the wire: sorted, equal schemas have equal digests.
    return {name: _value(struct.fields[name]) for name in sorted(struct.fields)}


def _value(value: Value) -> Json:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _object(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _number(number: float) -> Json:
    if not math.isfinite(number):
        raise ValueUnstorable("the output schema holds a number that JSON does not have")
    return int(number) if number.is_integer() else number
