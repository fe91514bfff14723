"""Errors as providers tell them, in responses and inside streams, and what becomes of each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.provider_streams import CHAT, CLAUDE, RESPONSES, event
from tests.support.scripted_provider import Reply

if TYPE_CHECKING:
    from tests.support.gateway_client import Fields

REASONS = {200: "OK", 400: "Bad Request", 402: "Payment Required", 403: "Forbidden",
           404: "Not Found", 405: "Method Not Allowed", 408: "Timeout", 409: "Conflict",
           413: "Too Large", 429: "Too Many Requests", 500: "Failed", 503: "Unavailable",
           529: "Overloaded"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """An error, and what becomes of it."""

    form: str
    status: int
    body: Fields
    """JSON, or a text; of status 200 the events."""
    reason: str
    code: str = ""
    words: str = ""
    requests: int = 1
    headers: dict[str, str] = field(default_factory=dict)

    def reply(self) -> Reply:
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        kind = "text/event-stream" if self.status == 200 else "application/json"
        return Reply((text,), f"{self.status} {REASONS[self.status]}", kind, self.headers)


def claude(kind: str, message: str = "m", code: str = "") -> Fields:
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}}


def openai(code: str | int | None, kind: str | None = None, **more: Fields) -> Fields:
    return {"error": {"message": "m", "type": kind, "param": None, "code": code, **more}}


def gemini(code: int, status: str, message: str = "m", **more: Fields) -> Fields:
    return {"error": {"code": code, "status": status, "message": message, **more}}


LIMITED, REFUSED, POLICY = "PROVIDER_LIMITED", "PROVIDER_REFUSED", "REPLY_REFUSED"
AGAIN: Fields = {"reason": "PROVIDER_UNAVAILABLE", "requests": 3}
MONEY, SCHEMA = "credit or spend limit", "does not take the output schema"
HALF = CHAT.delta("half ")
CASES = {
    # money, which waiting does not bring back
    **{f"claude: {code}": Case("claude", status, claude(kind, code=code), LIMITED, code, MONEY)
       for status, kind, code in (
           (429, "rate_limit_error", "enforced_spend_limit_reached"),
           (429, "rate_limit_error", "contract_spend_limit_reached"),
           (429, "rate_limit_error", "a_new_spend_limit_reached"),
           (402, "billing_error", "linked_organization_spend_limit_reached"),
           (402, "billing_error", "linked_organization_billing_unavailable"),
           (403, "permission_error", "user_profile_not_billable"))},
    "claude: a limit told as a bad request": Case(
        "claude", 400,
        claude("invalid_request_error", "You have reached your specified API usage limits."),
        LIMITED, words=MONEY),
    "claude: a low balance": Case(
        "claude", 400, claude("invalid_request_error", "Your credit balance is too low to access"),
        LIMITED, words=MONEY),
    "claude: a spend limit inside a stream": Case(
        "claude", 200, CLAUDE.began() + event(
            claude("rate_limit_error", code="contract_spend_limit_reached"), "error"),
        LIMITED, "contract_spend_limit_reached", MONEY),
    **{f"openai: {code}": Case("responses", 429, openai(code), LIMITED, code, MONEY)
       for code in ("credit_balance_exhausted", "organization_spend_limit_exceeded",
                    "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
                    "insufficient_quota", "billing_not_active", "billing_hard_limit_reached")},
    "openai: the code in the type": Case(
        "responses", 200, RESPONSES.error(
            error={"type": "insufficient_quota", "code": None, "message": "x"}),
        LIMITED, words=MONEY),
    "openai: a spend limit inside a stream": Case(
        "responses", 200, RESPONSES.error(code="project_spend_limit_exceeded", message="x"),
        LIMITED, "project_spend_limit_exceeded", MONEY),
    "chat: no quota": Case("chat", 429, openai("insufficient_quota"), LIMITED,
                           "insufficient_quota", MONEY),
    "chat: a number as a code": Case(
        "chat", 200, HALF + event({"id": "x", "error": {"code": 402, "message": "m"},
                                   "choices": [{"delta": {}, "finish_reason": "error"}]}),
        LIMITED, "402", MONEY),
    "gemini: prepaid credit": Case("gemini", 402, gemini(402, "RESOURCE_EXHAUSTED"), LIMITED,
                                   "402", MONEY),
    "gemini: prepaid credit, in a list": Case(
        "gemini", 402, [gemini(402, "RESOURCE_EXHAUSTED")], LIMITED, "402", MONEY),
    "gemini: prepaid credit inside a stream": Case(
        "gemini", 200, event(gemini(402, "RESOURCE_EXHAUSTED")), LIMITED, "402", MONEY),
    "gemini: a monthly cap": Case(
        "gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", "over its monthly spending cap"),
        LIMITED, words=MONEY),
    "gemini: a quota of the day": Case(
        "gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", details=[
            {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}]),
        LIMITED, words="daily quota"),
    # what passes
    "claude: growth too fast": Case(
        "claude", 429, claude("rate_limit_error", code="ramp_limit_exceeded"), LIMITED,
        "ramp_limit_exceeded", "too many requests", 3),
    "openrouter: a budget in flight": Case(
        "chat", 402, openai(402, metadata={"limit_source": "openrouter_in_flight_budget"}),
        LIMITED, "402", "too many requests", 3, {"retry-after": "0"}),
    "claude: a conflict": Case("claude", 409, claude("conflict_error"), **AGAIN),
    "claude: a conflict inside a stream": Case(
        "claude", 200, CLAUDE.began() + event(claude("conflict_error"), "error"), **AGAIN),
    "claude: by the event's name": Case(
        "claude", 200, CLAUDE.began() + CLAUDE.delta("hi")
        + event({"error": {"type": "overloaded_error", "message": "x"}}, "error"), **AGAIN),
    "claude: in plain words": Case(
        "claude", 200, CLAUDE.began() + event("overloaded", "error"), **AGAIN),
    "openai: overloaded": Case("responses", 503, openai("slow_down"), **AGAIN),
    "openai: failed": Case(
        "responses", 200, RESPONSES.ended("failed", error={"code": "server_error"}), **AGAIN),
    "openai: failed, unstreamed": Case(
        "responses", 200, {"object": "response", "status": "failed", "output": [],
                           "error": {"code": "vector_store_timeout", "message": "x"}}, **AGAIN),
    "openai: an error that is text": Case(
        "chat", 200, HALF + event({"error": "upstream went away"}), **AGAIN),
    "gemini: by its number": Case(
        "gemini", 200, event(gemini(503, "SOMETHING_NEW")), **AGAIN),
    "gemini: an error without a stream": Case("gemini", 200, [gemini(500, "INTERNAL")], **AGAIN),
    "a refusal that asks for more": Case(
        "claude", 400, claude("invalid_request_error"), headers={"x-should-retry": "true"},
        **AGAIN),
    # a policy
    "azure: the prompt is filtered": Case(
        "chat", 400, openai("content_filter", param="prompt", status=400, innererror={
            "code": "ResponsibleAIPolicyViolation"}), POLICY, "content_filter", "policy"),
    **{f"openai: {code}": Case(
        "responses", 200, RESPONSES.ended("failed", error={"code": code, "message": "x"}),
        POLICY, code, "policy")
       for code in ("bio_policy", "misalignment_policy_violation", "invalid_prompt",
                    "image_content_policy_violation", "a_new_policy")},
    "openrouter: moderation": Case(
        "chat", 403, openai(403, metadata={"reasons": ["violence"], "flagged_input": "…"}),
        POLICY, "403", "policy"),
    # what is wrong with the request
    "claude: too long": Case(
        "claude", 400, claude("invalid_request_error", "prompt is too long: 250000 tokens"),
        REFUSED, words="the prompt is too long"),
    "openai: too long": Case("chat", 400, openai("context_length_exceeded", param="messages"),
                             REFUSED, "context_length_exceeded", "the prompt is too long"),
    "gemini: too long": Case(
        "gemini", 400, gemini(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the"),
        REFUSED, words="the prompt is too long"),
    "claude: a keyword of the schema": Case(
        "claude", 400, claude("invalid_request_error", "output_config.format.schema: For 'array'"
                              " type, property 'maxItems' is not supported"),
        REFUSED, words=SCHEMA),
    "openai: a keyword of the schema": Case(
        "responses", 400, openai("invalid_json_schema", "invalid_request_error",
                                 param="text.format.schema"),
        REFUSED, "invalid_json_schema", SCHEMA),
    "gemini: a field of the schema": Case(
        "gemini", 400, gemini(400, "INVALID_ARGUMENT", details=[
            {"fieldViolations": [{"field": "generation_config.response_json_schema"}]}]),
        REFUSED, words=SCHEMA),
    "openai: a parameter": Case(
        "responses", 400, openai("unsupported_parameter", param="temperature"), REFUSED,
        "unsupported_parameter", "(unsupported_parameter, temperature)"),
    "claude: a blank turn": Case(
        "claude", 400, claude("invalid_request_error", "messages: text content blocks must be"
                              " non-empty"), REFUSED, words="turn of the prompt is blank"),
    "claude: on hold": Case(
        "claude", 400, claude("invalid_request_error", code="organization_on_hold"), REFUSED,
        "organization_on_hold", "the account or its key is disabled"),
    "claude: no such model": Case(
        "claude", 404, claude("not_found_error", "model: claude-x"), REFUSED,
        words="has no such model"),
    "no such page": Case("claude", 404, "<html>nothing here</html>", REFUSED,
                         words="check its api_base_url"),
    "no such path": Case("chat", 404, openai(None, "invalid_request_error", message="Invalid URL"),
                         REFUSED, words="check its api_base_url"),
    "another method": Case("chat", 405, {"detail": "Method Not Allowed"}, REFUSED,
                           words="check its api_base_url"),
    "an error without `error`": Case(
        "chat", 400, {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
        REFUSED, "400"),
    "an error that is text": Case("chat", 400, {"error": "bad"}, REFUSED),
    "no body": Case("chat", 400, "", REFUSED),
    "a number": Case("chat", 400, "17", REFUSED),
    "an unknown error inside a stream": Case(
        "responses", 200, RESPONSES.error(code="something_new", message="x"), REFUSED,
        "something_new"),
    # waits that cannot be
    **{f"wait: {wait[:20]}": Case("chat", 429, {}, LIMITED, headers={"retry-after": wait},
                                  requests=requests)
       for wait, requests in (
           ("1e20", 1), ("Fri, 31 Dec 9999 23:59:59 GMT", 1), ("nan", 3), ("-1", 3),
           ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 3))},
}  # fmt: skip
