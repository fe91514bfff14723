"""The metrics of calls to models.

Names that begin with `gen_ai_` are OpenTelemetry's, of its conventions for generative AI, with an
underscore for each dot; those are still being developed. What is billed is the ledger, not these.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from llm_gateway.domain.usage import USAGE_FIELDS
from monitoring.labels import BoundedLabel
from monitoring.readings import ReadGauge
from servicekit import telemetry

if TYPE_CHECKING:
    from llm_gateway.domain.usage import Usage

_MODELS = BoundedLabel(200)
_CHAT = "chat"
_GEN_AI = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4.0**power for power in range(14))

DURATION = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "How long requests to providers took; `error_type` is empty where the reply could be used.",
    [*_GEN_AI, "error_type"],
    buckets=_SECONDS,
)
FIRST_CHUNK = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "How long it took until the first text of a reply arrived.",
    _GEN_AI,
    buckets=_SECONDS,
)
TOKEN_USAGE = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of requests to providers; `gen_ai_token_type` is `input` (cached ones included) or "
    "`output` (reasoning included).",
    [*_GEN_AI, "gen_ai_token_type"],
    buckets=_TOKENS,
)
CALLS = Counter(
    "nagaya_llm_calls",
    "Calls that were sent to a provider and have ended: `settled`, `failed`, or `unknown`.",
    ["provider", "model", "outcome"],
)
REPLAYED = Counter(
    "nagaya_llm_calls_replayed", "Calls that were answered from the ledger: nothing was sent."
)
TOKENS = Counter(
    "nagaya_llm_tokens",
    "Tokens of requests to providers, in kinds that do not overlap: `input`, `cache_read`, "
    "`cache_write`, `output`, `reasoning`.",
    ["provider", "model", "type"],
)
COST = Counter(
    "nagaya_llm_cost_micro_usd",
    "What requests to providers cost by the price list, in millionths of a US dollar.",
    ["provider", "model"],
)
RETRIES = Counter("nagaya_llm_retries", "Requests that were sent again.", ["provider"])
RETRIES_DENIED = Counter(
    "nagaya_llm_retries_denied",
    "Failed requests that were not sent again, because too many to the provider had failed lately.",
    ["provider"],
)
RETRY_BUDGET = ReadGauge(
    "nagaya_llm_retry_budget",
    "How many requests to the provider may be sent again now; each call that is made adds 0.1. "
    "Below 1 none is: this is the circuit breaker.",
    ("provider",),
)
UNKNOWN = Counter(
    "nagaya_llm_unknown_attempts",
    "Requests of which nobody knows whether they are paid: `connection_lost` in the middle, "
    "`process_died`, or `given_up` when this process stopped.",
    ["cause"],
)
IN_FLIGHT = Gauge("nagaya_llm_calls_in_flight", "Calls that this process works on.")
LEASE_FAILURES = Counter(
    "nagaya_llm_lease_renewal_failures", "Renewals of leases on calls in flight that failed."
)


class AttemptMetrics:
    """Counts what became of requests to one model of one provider.

    It keeps its series: to look them up by their labels costs more than to count.
    """

    def __init__(self, provider: str, model: str) -> None:
        self._provider, self._model = provider, model
        names = _CHAT, provider, model
        self._first_chunk = FIRST_CHUNK.labels(*names)
        self._good = DURATION.labels(*names, "")
        self._usages = tuple(TOKEN_USAGE.labels(*names, way) for way in ("input", "output"))
        self._tokens = {
            name: TOKENS.labels(provider, model, name.removesuffix("_tokens"))
            for name in USAGE_FIELDS
        }
        self._cost = COST.labels(provider, model)

    def first_chunk(self, seconds: float) -> None:
        """Count the first text of a reply, so long after the request."""
        self._first_chunk.observe(seconds)

    def ended(self, seconds: float, error_type: str, usage: Usage, cost_micro_usd: int) -> None:
        """Count a request that has ended, with what it used and cost."""
        duration = self._good
        if error_type:
            duration = DURATION.labels(_CHAT, self._provider, self._model, error_type)
        duration.observe(seconds, telemetry.exemplar())
        for used, count in zip(
            self._usages, (usage.prompt_tokens, usage.reply_tokens), strict=True
        ):
            if count:
                used.observe(count)
        for name, tokens in self._tokens.items():
            if count := getattr(usage, name):
                tokens.inc(count)
        self._cost.inc(cost_micro_usd)

    def call_ended(self, outcome: str) -> None:
        """Count a call that has ended."""
        CALLS.labels(self._provider, self._model, outcome).inc()


@lru_cache(maxsize=1000)
def attempt_metrics(provider_id: str, model_name: str) -> AttemptMetrics:
    """Return the metrics of a model of the catalogue; beyond 200 models it is `other`."""
    return AttemptMetrics(provider_id, _MODELS.of(model_name))
