"""What the llm-gateway service refuses, and why.

DomainError
├── InvalidInput
│   ├── BaseUrlRefused
│   ├── CapabilityMissing
│   ├── InputTooLarge
│   ├── ProviderRefused
│   ├── ReplyCut
│   ├── ReplyEmpty
│   ├── ReplyIncomplete
│   └── ReplyRefused
├── Forbidden
│   └── KeyReserved
├── NotFound
│   ├── CallNotFound
│   ├── ModelNotFound
│   └── ProviderNotFound
├── AlreadyExists
│   └── CallKeyReused
├── Conflict
│   ├── CallOutcomeUnknown
│   ├── InputInvalid
│   ├── ModelUnavailable
│   ├── ModelUnpriced
│   ├── ModelUnresolved
│   ├── PriceConflict
│   ├── PromptBlank
│   ├── ProviderKeyMissing
│   ├── ProviderKeyUnusable
│   └── RunNotFound
├── LimitExceeded
│   └── ProviderLimited
│       └── ProviderExhausted
├── Unavailable
│   ├── CallInFlight
│   └── ProviderUnavailable
│       └── ProviderDeclines
└── DataLoss
    └── ReplyInvalid
        ├── ReplyDisplaced
        └── ReplyRepeated
"""

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


class BaseUrlRefused(InvalidInput):
    reason = "ERROR_REASON_BASE_URL_REFUSED"
    hint = "Use https, or add the host to NAGAYA_PROVIDER_HTTP_HOSTS."

    def __init__(self, host: str) -> None:
        super().__init__(f"the host {host!r} may not be spoken to over plain http", host=host)


class CapabilityMissing(InvalidInput):
    reason = "ERROR_REASON_CAPABILITY_MISSING"
    hint = "Choose another model, or ask for less; nothing was spent."

    def __init__(self, model_id: str, capability: str) -> None:
        super().__init__(
            f"the model {model_id} lacks {capability}", model_id=model_id, capability=capability
        )


class InputTooLarge(InvalidInput):
    reason = "ERROR_REASON_REQUEST_TOO_LARGE"
    hint = "Send less input, or point to smaller files."

    def __init__(self, **limit: str) -> None:
        super().__init__("the input is larger than can be sent", violations=(), **limit)


class ProviderRefused(InvalidInput):
    reason = "ERROR_REASON_PROVIDER_REFUSED"
    hint = "Trying again will not help; the call's attempts tell more."


class ReplyCut(InvalidInput):
    reason = "ERROR_REASON_REPLY_CUT"
    hint = (
        "Raise max_output_tokens, take a model that may say more, or ask for less;"
        " the same request is not sent again."
    )


class ReplyRefused(InvalidInput):
    reason = "ERROR_REASON_REPLY_REFUSED"
    hint = (
        "Take a model of another provider, or change what is asked;"
        " the same request is not sent again to the same model."
    )


class ReplyIncomplete(InvalidInput):
    reason = "ERROR_REASON_REPLY_INCOMPLETE"
    hint = (
        "Change what is asked, or take another model;"
        " the same request is not sent again to the same model."
    )


class ReplyEmpty(InvalidInput):
    reason = "ERROR_REASON_REPLY_EMPTY"
    hint = (
        "Say allow_empty where an empty reply will do, change what is asked, or take another"
        " model; the same request is not sent again to the same model."
    )


class KeyReserved(Forbidden):
    reason = "ERROR_REASON_KEY_RESERVED"
    hint = "People ask under step `input` of a run, and name the model; other steps ask themselves."

    def __init__(self, step: str) -> None:
        super().__init__(f"only the workload runs asks under step {step}", step=step)


class CallNotFound(NotFound):
    reason = "ERROR_REASON_CALL_NOT_FOUND"
    hint = "List the run's calls with ListCalls."

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no call {key}")


class ModelNotFound(NotFound):
    reason = "ERROR_REASON_MODEL_NOT_FOUND"
    hint = "List the models with ListModels."

    def __init__(self, model_id: str) -> None:
        super().__init__(f"there is no model {model_id}", model_id=model_id)


class ProviderNotFound(NotFound):
    reason = "ERROR_REASON_PROVIDER_NOT_FOUND"
    hint = "List the providers with ListProviders."

    def __init__(self, provider_id: str) -> None:
        super().__init__(f"there is no provider {provider_id}", provider_id=provider_id)


class CallKeyReused(AlreadyExists):
    reason = "ERROR_REASON_CALL_KEY_REUSED"
    hint = "Use the next call number for another request."

    def __init__(self, request_digest: str) -> None:
        super().__init__(
            "the key was used for another request, and nothing was sent",
            request_digest=request_digest,
        )


class CallOutcomeUnknown(Conflict):
    reason = "ERROR_REASON_CALL_OUTCOME_UNKNOWN"
    hint = "Ask with unknown_policy REDO to send it again; both attempts stay in the ledger."

    def __init__(self, attempt: int) -> None:
        super().__init__(
            f"attempt {attempt} may have been charged, and its reply never arrived",
            attempt=str(attempt),
        )


class InputInvalid(Conflict):
    reason = "ERROR_REASON_INPUT_INVALID"
    hint = "Point to a committed file by its own digest, and to a value inside it."

    def __init__(self, problem: str, path: str, json_pointer: str) -> None:
        super().__init__(f"{path}: {problem}", path=path, json_pointer=json_pointer)


class ModelUnavailable(Conflict):
    reason = "ERROR_REASON_MODEL_UNAVAILABLE"
    hint = "List the models with ListModels, and set one active with SetModel."


class ModelUnpriced(Conflict):
    reason = "ERROR_REASON_MODEL_UNPRICED"
    hint = "Give the model a price with SetPrice."

    def __init__(self, model_id: str) -> None:
        super().__init__(f"the model {model_id} has no price today", model_id=model_id)


class ModelUnresolved(Conflict):
    reason = "ERROR_REASON_MODEL_UNRESOLVED"
    hint = "Set a default with SetStepDefault, or an override with SetTenantStepOverride."

    def __init__(self, step: str) -> None:
        super().__init__(f"nothing says which model the step {step} uses", step=step)


class PriceConflict(Conflict):
    reason = "ERROR_REASON_PRICE_CONFLICT"
    hint = "Add a row with a later effective_time."

    def __init__(self, price_id: str) -> None:
        super().__init__("the model has another price of this time", price_id=price_id)


class PromptBlank(Conflict):
    reason = "ERROR_REASON_PROMPT_BLANK"
    hint = "Give the prompt something to ask; providers refuse a turn without a word."

    def __init__(self, turn: int, path: str, json_pointer: str) -> None:
        where = {"path": path, "json_pointer": json_pointer} if path else {}
        super().__init__(f"turn {turn} of the prompt says nothing", turn=str(turn), **where)


class ProviderKeyMissing(Conflict):
    reason = "ERROR_REASON_PROVIDER_KEY_MISSING"
    hint = "Add the provider's key to the file that NAGAYA_PROVIDER_KEYS_FILE names."

    def __init__(self, provider_id: str) -> None:
        super().__init__(f"no key is configured for {provider_id}", provider_id=provider_id)


class ProviderKeyUnusable(Conflict):
    reason = "ERROR_REASON_PROVIDER_KEY_UNUSABLE"
    hint = "Write the key into the file as the provider shows it: letters, digits and signs only."

    def __init__(self, provider_id: str) -> None:
        super().__init__(
            f"the key of {provider_id} holds a character that no header can carry",
            provider_id=provider_id,
        )


class RunNotFound(Conflict):
    reason = "ERROR_REASON_RUN_NOT_FOUND"
    hint = "Create the run first."

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}", run_id=run_id)


class ProviderLimited(LimitExceeded):
    reason = "ERROR_REASON_PROVIDER_LIMITED"
    hint = "Call again after retry_after_ms; before that nothing is sent."
    retry_at_once = False


class ProviderExhausted(ProviderLimited):
    """Waiting does not help: the money or the quota is used up."""

    hint = "Raise the limit at the provider, or pay there; until then it refuses every call."


class CallInFlight(Unavailable):
    reason = "ERROR_REASON_CALL_IN_FLIGHT"
    hint = "Call again with the same key; the reply is not asked for twice."
    retry_at_once = False

    def __init__(self, message: str = "another process is still making this call") -> None:
        super().__init__(message, retry_after_ms="1000")


class ProviderUnavailable(Unavailable):
    reason = "ERROR_REASON_PROVIDER_UNAVAILABLE"
    hint = "Call again later with the same key; nothing is sent before retry_after_ms."
    retry_at_once = False


class ProviderDeclines(ProviderUnavailable):
    """The provider asks not to be tried again."""

    hint = "The provider asks not to be tried again; the call's attempts tell more."


class ReplyInvalid(DataLoss):
    reason = "ERROR_REASON_REPLY_INVALID"
    hint = "The same key may be tried again, which is paid again."


class ReplyDisplaced(ReplyInvalid):
    hint = "Use the next call number; nothing more is sent for this one."

    def __init__(self, attempt: int) -> None:
        super().__init__(
            "another file lies where the reply belongs", attempt=str(attempt), final="true"
        )


class ReplyRepeated(ReplyInvalid):
    hint = (
        "The same reply came twice: change what is asked, or take another model;"
        " the same request is not sent again to the same model."
    )
