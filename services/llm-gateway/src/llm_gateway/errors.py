"""The errors of the llm-gateway service; docs/errors.md is generated from them."""

from __future__ import annotations

from servicekit.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unavailable,
)

_NOT_AGAIN = " the same request is not sent again."
_NOT_AGAIN_TO_MODEL = " the same request is not sent again to the same model."


class BaseUrlRefused(InvalidInput):
    """A provider's base URL is not https, and its host not allowed without TLS."""

    reason = "ERROR_REASON_BASE_URL_REFUSED"
    hint = "Use https, or add the host to NAGAYA_PROVIDER_HTTP_HOSTS."

    def __init__(self, host: str) -> None:
        super().__init__(f"the host {host!r} may not be spoken to over plain http", host=host)


class CapabilityMissing(InvalidInput):
    """The chosen model cannot do what the request asks."""

    reason = "ERROR_REASON_CAPABILITY_MISSING"
    hint = "Choose another model, or ask for less; nothing was spent."

    def __init__(self, model_id: str, capability: str) -> None:
        message = f"the model {model_id} lacks {capability}"
        super().__init__(message, model_id=model_id, capability=capability)


class InputTooLarge(InvalidInput):
    """The input exceeds 32 MiB, or surely the model's context."""

    reason = "ERROR_REASON_REQUEST_TOO_LARGE"
    hint = "Send less input, or point to smaller files."

    def __init__(self, **limit: str) -> None:
        super().__init__("the input is larger than can be sent", violations=(), **limit)


class ProviderRefused(InvalidInput):
    """The provider refuses the request itself."""

    reason = "ERROR_REASON_PROVIDER_REFUSED"
    hint = "Trying again will not help; the call's attempts tell more."


class ReplyCut(InvalidInput):
    """A token limit cut the reply off, so that it does not fit the schema."""

    reason = "ERROR_REASON_REPLY_CUT"
    hint = "Raise max_output_tokens, take a model that may say more, or ask for less;" + _NOT_AGAIN


class ReplyRefused(InvalidInput):
    """The model or the provider declined."""

    reason = "ERROR_REASON_REPLY_REFUSED"
    hint = "Take a model of another provider, or change what is asked;" + _NOT_AGAIN_TO_MODEL


class ReplyIncomplete(InvalidInput):
    """The reply's finish reason is not that of a complete one."""

    reason = "ERROR_REASON_REPLY_INCOMPLETE"
    hint = "Change what is asked, or take another model;" + _NOT_AGAIN_TO_MODEL


class ReplyEmpty(InvalidInput):
    """The reply has no visible character."""

    reason = "ERROR_REASON_REPLY_EMPTY"
    hint = "Say allow_empty where an empty reply will do, change what is asked, or take another"
    hint += " model;" + _NOT_AGAIN_TO_MODEL


class KeyReserved(Forbidden):
    """A person used the key of a pipeline's step."""

    reason = "ERROR_REASON_KEY_RESERVED"
    hint = "People ask under step `input` of a run, and name the model; other steps ask themselves."


class CallNotFound(NotFound):
    """The ledger has no call under the key."""

    reason = "ERROR_REASON_CALL_NOT_FOUND"
    hint = "List the run's calls with ListCalls."


class ReplyExpired(NotFound):
    """The reply of a settled call is not kept any more."""

    reason = "ERROR_REASON_REPLY_EXPIRED"
    hint = "Its digest, summary and usage stay in the ledger; ask under another key for a new one."


class ModelNotFound(NotFound):
    """The catalogue has no such model."""

    reason = "ERROR_REASON_MODEL_NOT_FOUND"
    hint = "List the models with ListModels."

    def __init__(self, model_id: str) -> None:
        super().__init__(f"there is no model {model_id}", model_id=model_id)


class ProviderNotFound(NotFound):
    """The catalogue has no such provider."""

    reason = "ERROR_REASON_PROVIDER_NOT_FOUND"
    hint = "List the providers with ListProviders."

    def __init__(self, provider_id: str) -> None:
        super().__init__(f"there is no provider {provider_id}", provider_id=provider_id)


class CallKeyReused(AlreadyExists):
    """The key was used for another request."""

    reason = "ERROR_REASON_CALL_KEY_REUSED"
    hint = "Use the next call number for another request."

    def __init__(self, request_digest: str) -> None:
        super().__init__("the key was used for another request", request_digest=request_digest)


class CallNotSettled(Conflict):
    """The call has no reply, or none yet."""

    reason = "ERROR_REASON_CALL_NOT_SETTLED"
    hint = "Send the same request again: it joins a call that is being made."


class CallOutcomeUnknown(Conflict):
    """An earlier attempt may have been paid, and the policy is FAIL."""

    reason = "ERROR_REASON_CALL_OUTCOME_UNKNOWN"
    hint = "Ask with unknown_policy REDO to send it again; both attempts stay in the ledger."

    def __init__(self, attempt: int) -> None:
        message = f"attempt {attempt} may have been charged, and its reply never arrived"
        super().__init__(message, attempt=str(attempt))


class InputInvalid(Conflict):
    """A file of the input is missing, altered, or without the value pointed to."""

    reason = "ERROR_REASON_INPUT_INVALID"
    hint = "Point to a committed file by its own digest, and to a value inside it."

    def __init__(self, problem: str, path: str, json_pointer: str) -> None:
        super().__init__(f"{path}: {problem}", path=path, json_pointer=json_pointer)


class ModelUnavailable(Conflict):
    """The chosen model or class is unknown or inactive."""

    reason = "ERROR_REASON_MODEL_UNAVAILABLE"
    hint = "List the models with ListModels, and set one active with SetModel."


class ModelUnpriced(Conflict):
    """The model has no price that is in effect."""

    reason = "ERROR_REASON_MODEL_UNPRICED"
    hint = "Give the model a price with SetPrice."

    def __init__(self, model_id: str) -> None:
        super().__init__(f"the model {model_id} has no price today", model_id=model_id)


class ModelUnresolved(Conflict):
    """No rule chooses a model for the step."""

    reason = "ERROR_REASON_MODEL_UNRESOLVED"
    hint = "Set a default with SetStepDefault, or an override with SetTenantStepOverride."


class PriceConflict(Conflict):
    """The model has another price of the same time and prompt length."""

    reason = "ERROR_REASON_PRICE_CONFLICT"
    hint = "Add a row with a later effective_time."


class PromptBlank(Conflict):
    """A turn of the prompt has no visible character."""

    reason = "ERROR_REASON_PROMPT_BLANK"
    hint = "Give the prompt something to ask; providers refuse a turn without a word."

    def __init__(self, turn: int, path: str, json_pointer: str) -> None:
        where = {"path": path, "json_pointer": json_pointer} if path else {}
        super().__init__(f"turn {turn} of the prompt says nothing", turn=str(turn), **where)


class ProviderKeyMissing(Conflict):
    """No API key is configured for the provider."""

    reason = "ERROR_REASON_PROVIDER_KEY_MISSING"
    hint = "Add the provider's key to the file that NAGAYA_PROVIDER_KEYS_FILE names."


class ProviderKeyUnusable(Conflict):
    """The provider's API key cannot be sent in a header."""

    reason = "ERROR_REASON_PROVIDER_KEY_UNUSABLE"
    hint = "Write the key into the file as the provider shows it: letters, digits and signs only."

    def __init__(self, provider_id: str) -> None:
        message = f"the key of {provider_id} holds a character that no header can carry"
        super().__init__(message, provider_id=provider_id)


class RunNotFound(Conflict):
    """The run of the key does not exist."""

    reason = "ERROR_REASON_RUN_NOT_FOUND"
    hint = "Create the run first."

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}", run_id=run_id)


class ProviderLimited(LimitExceeded):
    """The provider limits the rate of requests."""

    reason = "ERROR_REASON_PROVIDER_LIMITED"
    hint = "Call again after retry_after_ms; before that nothing is sent."
    retry_at_once = False


class ProviderExhausted(ProviderLimited):
    """Money or quota at the provider is used up; waiting does not help."""

    hint = "Raise the limit at the provider, or pay there; until then it refuses every call."


class CallInFlight(Unavailable):
    """Another process is working on the call, or this one is and stops."""

    reason = "ERROR_REASON_CALL_IN_FLIGHT"
    hint = "Call again with the same key; the reply is not asked for twice."
    retry_at_once = False

    def __init__(self, message: str = "another process is still making this call") -> None:
        super().__init__(message, retry_after_ms="1000")


class ProcessStopping(CallInFlight):
    """This process stops, and has not begun the call."""

    retry_at_once = True


class ProviderUnavailable(Unavailable):
    """The provider failed or cannot be reached."""

    reason = "ERROR_REASON_PROVIDER_UNAVAILABLE"
    hint = "Call again later with the same key; nothing is sent before retry_after_ms."
    retry_at_once = False


class ProviderDeclines(ProviderUnavailable):
    """The provider asks not to retry."""

    hint = "The provider asks not to be tried again; the call's attempts tell more."


class ReplyInvalid(DataLoss):
    """A whole, paid reply cannot be parsed or does not fit the schema."""

    reason = "ERROR_REASON_REPLY_INVALID"
    hint = "The same key may be tried again, which is paid again."


class ReplyDisplaced(ReplyInvalid):
    """Another file is stored where the reply belongs."""

    hint = "Use the next call number; nothing more is sent for this one."

    def __init__(self, attempt: int) -> None:
        super().__init__("another file lies where it belongs", attempt=str(attempt), final="true")


class ReplyRepeated(ReplyInvalid):
    """The same unusable reply came twice."""

    hint = "It came twice: change what is asked, or take another model;" + _NOT_AGAIN_TO_MODEL
