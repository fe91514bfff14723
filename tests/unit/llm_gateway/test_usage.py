"""Usage as providers report it: in parts, again, wrongly written, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.domain.usage import ReportedUsage, Usage
from llm_gateway.providers.usage import (
    ChatUsage,
    ClaudeUsage,
    GeminiUsage,
    ResponsesUsage,
    UsageReports,
)

Json = dict[str, Any]
PROMPT: dict[type[UsageReports], str] = {
    ClaudeUsage: "input_tokens",
    ResponsesUsage: "input_tokens",
    ChatUsage: "prompt_tokens",
    GeminiUsage: "promptTokenCount",
}
REPLY: dict[type[UsageReports], str] = {
    ClaudeUsage: "output_tokens",
    ResponsesUsage: "output_tokens",
    ChatUsage: "completion_tokens",
    GeminiUsage: "candidatesTokenCount",
}
TOTAL: dict[type[UsageReports], str] = {
    ResponsesUsage: "total_tokens",
    ChatUsage: "total_tokens",
    GeminiUsage: "totalTokenCount",
}
every = pytest.mark.parametrize("form", PROMPT)


def reported(form: type[UsageReports], *reports: Json) -> ReportedUsage:
    reports_of_one = form()
    for report in reports:
        reports_of_one.add(json.loads(json.dumps(report)))
    return reports_of_one.reported()


def pair(form: type[UsageReports], prompt: object, reply: object) -> Json:
    return {PROMPT[form]: prompt, REPLY[form]: reply}


def test_claude_tells_usage_in_parts() -> None:
    start = {"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 1}
    delta = {"output_tokens": 30, "output_tokens_details": {"thinking_tokens": 12}}
    later = {"output_tokens": 40, "input_tokens": None, "cache_creation_input_tokens": 7}

    assert reported(ClaudeUsage, start, delta, later) == ReportedUsage(Usage(10, 4, 7, 28, 12))


@every
@pytest.mark.parametrize("later", [0, None, "0", 0.0, False, -1, [], {}, "none"], ids=repr)
def test_a_later_report_takes_nothing_back(form: type[UsageReports], later: object) -> None:
    usage = reported(form, pair(form, 25, 15), pair(form, later, later), {})

    assert usage == ReportedUsage(Usage(input_tokens=25, output_tokens=15))


@every
def test_the_largest_of_several_reports_counts(form: type[UsageReports]) -> None:
    usage = reported(form, pair(form, 25, 3), pair(form, 20, 15), pair(form, 25, 14))

    assert usage == ReportedUsage(Usage(input_tokens=25, output_tokens=15))


@every
@pytest.mark.parametrize(
    ("prompt", "reply"), [(25.0, 15.0), ("25", "15"), (" 25 ", "14.2"), (24.5, 14.01)], ids=repr
)
def test_floats_and_strings_are_numbers(
    form: type[UsageReports], prompt: object, reply: object
) -> None:
    assert reported(form, pair(form, prompt, reply)) == ReportedUsage(Usage(25, 0, 0, 15))


@every
@pytest.mark.parametrize("huge", [10**30, 1e300, "9" * 12, 2**63, 10**9 + 1], ids=repr)
def test_an_impossible_number_is_not_recorded_and_is_a_doubt(
    form: type[UsageReports], huge: object
) -> None:
    usage = reported(form, pair(form, huge, 5))

    assert usage.usage == Usage(output_tokens=5)
    assert usage.doubt == "the provider told a number of tokens that cannot be"


@pytest.mark.parametrize("form", TOTAL)
def test_a_total_tells_the_half_that_is_missing(form: type[UsageReports]) -> None:
    without_reply = reported(form, {PROMPT[form]: 25, TOTAL[form]: 40})
    without_prompt = reported(form, {REPLY[form]: 15, TOTAL[form]: 40})

    assert without_reply == without_prompt == ReportedUsage(Usage(25, 0, 0, 15))


def test_reasoning_that_is_counted_beside_the_output_is_paid() -> None:
    usage: Json = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 315}
    usage["completion_tokens_details"] = {"reasoning_tokens": 300}

    assert reported(ChatUsage, usage).usage == Usage(10, 0, 0, 5, 300)
    usage.pop("total_tokens")
    assert reported(ChatUsage, usage).usage == Usage(10, 0, 0, 5, 300)


def test_more_cached_than_the_prompt_has_is_a_doubt_and_all_of_it_is_booked() -> None:
    usage = reported(
        ChatUsage,
        {"prompt_tokens": 10, "completion_tokens": 5},
        {"prompt_tokens_details": {"cached_tokens": 90}},
    )

    assert usage.usage == Usage(10, 90, 0, 5)
    assert usage.doubt


def test_gemini_counts_tool_use_as_prompt_and_thoughts_beside_candidates() -> None:
    usage = reported(
        GeminiUsage,
        {
            "promptTokenCount": "100",
            "cachedContentTokenCount": "60",
            "toolUsePromptTokenCount": 7,
            "thoughtsTokenCount": 30,
            "totalTokenCount": 137,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
        },
    )

    assert usage == ReportedUsage(Usage(47, 60, 0, 0, 30))


def test_deepseek_tells_what_it_read_from_its_cache_at_the_top() -> None:
    usage = {"prompt_tokens": 100, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}

    assert reported(ChatUsage, usage | {"completion_tokens": 5}).usage == Usage(36, 64, 0, 5)


@pytest.mark.parametrize(
    ("form", "usage", "words"),
    [
        (ClaudeUsage, {"service_tier": "priority"}, "service_tier priority"),
        (ClaudeUsage, {"service_tier": "batch"}, "service_tier batch"),
        (ClaudeUsage, {"inference_geo": "us"}, "inference_geo us"),
        (ClaudeUsage, {"speed": "fast"}, "speed fast"),
        (ClaudeUsage, {"cache_creation": {"ephemeral_1h_input_tokens": 9}}, "for an hour"),
        (ClaudeUsage, {"server_tool_use": {"web_search_requests": 1}}, "web searches"),
        (ResponsesUsage, {"service_tier": "priority"}, "service_tier priority"),
        (ResponsesUsage, {"service_tier": "a tier with spaces"}, "of another kind"),
        (ChatUsage, {"service_tier": "flex"}, "service_tier flex"),
        (GeminiUsage, {"serviceTier": "PRIORITY"}, "serviceTier PRIORITY"),
        (GeminiUsage, {"trafficType": "ON_DEMAND_FLEX"}, "trafficType ON_DEMAND_FLEX"),
    ],
)
def test_options_that_the_price_list_does_not_hold_for_are_a_doubt(
    form: type[UsageReports], usage: Json, words: str
) -> None:
    assert words in reported(form, pair(form, 10, 5) | usage).doubt


@pytest.mark.parametrize(
    ("form", "usage"),
    [
        (ClaudeUsage, {"service_tier": "standard", "inference_geo": "global"}),
        (ClaudeUsage, {"service_tier": None, "inference_geo": "not_available", "speed": ""}),
        (ResponsesUsage, {"service_tier": "default"}),
        (ChatUsage, {"service_tier": "on_demand", "cost": 1e12, "is_byok": False}),
        (GeminiUsage, {"serviceTier": "STANDARD", "trafficType": "ON_DEMAND"}),
    ],
)
def test_options_that_the_price_list_holds_for_are_no_doubt(
    form: type[UsageReports], usage: Json
) -> None:
    assert reported(form, pair(form, 10, 5) | usage) == ReportedUsage(Usage(10, 0, 0, 5))


def test_the_word_of_the_end_counts_and_not_that_of_the_beginning() -> None:
    reports = ResponsesUsage()
    reports.add({"input_tokens": 10, "output_tokens": 5})
    reports.add_option("service_tier", "flex")
    reports.add_option("service_tier", None)
    reports.add_option("service_tier", "default")

    assert reports.reported().doubt == ""


@pytest.mark.parametrize(
    ("usage", "whole", "expected"),
    [
        (Usage(), True, Usage(100, 0, 0, 20)),
        (Usage(input_tokens=90), True, Usage(90, 0, 0, 20)),
        (Usage(output_tokens=15), True, Usage(100, 0, 0, 15)),
        (Usage(9, 0, 0, 1), True, Usage(9, 0, 0, 1)),
        (Usage(9, 0, 0, 1), False, Usage(9, 0, 0, 20)),
        (Usage(9, 0, 0, 0, 300), False, Usage(9, 0, 0, 0, 300)),
    ],
)
def test_what_was_not_reported_is_estimated_and_marked(
    usage: Usage, *, whole: bool, expected: Usage
) -> None:
    completed = ReportedUsage(usage).completed(100, 20, whole=whole)

    assert completed.usage == expected
    assert bool(completed.doubt) == (expected != usage or not whole)


def test_an_empty_reply_needs_no_estimate() -> None:
    usage = ReportedUsage(Usage(input_tokens=90))

    assert usage.completed(100, 0, whole=True) == usage


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "12", "-1", "1e9", "NaN", "٣", [], [3], {"a": {"b": 1}}]),
)
NAMES = st.sampled_from(sorted({*PROMPT.values(), *REPLY.values(), *TOTAL.values()}))


@every
@given(reports=st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=3))
def test_no_report_breaks_a_reply(form: type[UsageReports], reports: list[Json]) -> None:
    usage = reported(form, *reports).usage

    assert 0 <= usage.prompt_tokens <= 2 * 10**9
    assert 0 <= usage.reply_tokens <= 2 * 10**9
