"""What OpenAI's two formats have in common: address, key, and the words for what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.providers.wire_format import Fault, ProviderFault, child, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonObject

HOME = "https://api.openai.com"

_SPENT = frozenset({"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"})
_FAILING = frozenset({"server_error", "server_is_overloaded", "vector_store_timeout", ""})
_LIMITED = frozenset({"rate_limit_exceeded", "slow_down"})


def bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"}


def refusal(status: int, body: JsonObject) -> ProviderFault | None:
    """Return what an error body means beyond its status."""
    error = child(body, "error")
    if {text(error, "code"), text(error, "type")} & _SPENT:
        return ProviderFault(Fault.EXHAUSTED, "the spend limit is reached", status=status)
    return None


def fault_of(code: str) -> ProviderFault:
    """Return the fault that an error inside a stream names."""
    if code in _FAILING:
        fault = Fault.UNAVAILABLE
    elif code in _LIMITED:
        fault = Fault.LIMITED
    else:
        fault = Fault.EXHAUSTED if code in _SPENT else Fault.REFUSED
    return ProviderFault(fault, f"the provider broke the reply off: {fault}", status=200)
