"""Choices of models on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.json_format import ParseDict

from nagaya.llm_gateway.v1 import model_pb2
from runs.domain.models import ModelById, ModelChoice, ModelClass

if TYPE_CHECKING:
    from jsonvalues import JsonMapping


def model_choice(message: model_pb2.ModelChoice) -> ModelChoice:
    if message.WhichOneof("choice") == "model_id":
        return ModelById(message.model_id)
    return ModelClass(message.model_class.provider_id, message.model_class.model_class)


def model_choice_from_document(content: JsonMapping) -> ModelChoice:
    """Return the choice of a pipeline's stored document."""
    return model_choice(ParseDict(dict(content), model_pb2.ModelChoice()))


def model_choice_message(choice: ModelChoice) -> model_pb2.ModelChoice:
    match choice:
        case ModelById(model_id):
            return model_pb2.ModelChoice(model_id=model_id)
        case ModelClass(provider_id, model_class):
            chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
            return model_pb2.ModelChoice(model_class=chosen)
