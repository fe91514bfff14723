"""The rules that choose a model, and what it must be able to do. The oracle of the whole is SQL,
in the integration tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.llm_gateway.test_requests import REQUEST

from llm_gateway.domain.catalog import Catalog
from llm_gateway.domain.models import (
    Capabilities,
    Model,
    ModelClass,
    ModelId,
    Provider,
    ResolutionRule,
    StepDefault,
    WireFormat,
)
from llm_gateway.domain.prices import Price, Rates
from llm_gateway.errors import (
    CapabilityMissing,
    ModelUnavailable,
    ModelUnpriced,
    ModelUnresolved,
)
from llm_gateway.routing.rules import Choices, check, output_limit, resolve

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CAN = Capabilities(1000, 10_000, json_schema=True, temperature=True, reasoning_headroom_tokens=300)
CLAUDE = Provider("claude", "Claude", "", active=True, wire_format=WireFormat.CLAUDE_MESSAGES)
OPENAI = replace(CLAUDE, id="openai", wire_format=WireFormat.OPENAI_RESPONSES)
PRO = Model("pro-1", "claude", "pro-1", "pro", active=True, capabilities=CAN)
PRICES = [Price("p", "pro-1", NOW, 0, Rates(1, 1, 1, 1))]
CLASS = ModelClass("claude", "pro")
NOBODY = Choices(None, None, None)


def catalog(
    *models: Model,
    providers: tuple[Provider, ...] = (CLAUDE, OPENAI),
    default: ModelClass | None = CLASS,
) -> Catalog:
    defaults = [] if default is None else [StepDefault("draft", default)]
    return Catalog.of(7, providers, models or (PRO,), PRICES, defaults)


def test_the_nearest_choice_wins() -> None:
    other = replace(PRO, id="other", model_class="standard")
    known = catalog(PRO, other)
    for choices, rule in (
        (Choices(ModelId("other"), CLASS, CLASS), ResolutionRule.REQUEST),
        (Choices(None, ModelId("other"), CLASS), ResolutionRule.RUN),
        (Choices(None, None, ModelClass("claude", "standard")), ResolutionRule.TENANT_OVERRIDE),
    ):
        chosen = resolve(known, "draft", choices, NOW).resolution
        assert (chosen.model_id, chosen.rule, chosen.catalog_version) == ("other", rule, 7)
    assert resolve(known, "draft", NOBODY, NOW).resolution.rule is ResolutionRule.STEP_DEFAULT


def test_a_class_is_the_model_that_was_set_last() -> None:
    older = replace(PRO, id="z", set_in_version=3)
    newer = replace(PRO, id="a", set_in_version=4)

    assert resolve(catalog(newer, older), "draft", NOBODY, NOW).model == newer


@pytest.mark.parametrize(
    "known",
    [
        catalog(replace(PRO, active=False)),
        catalog(providers=(replace(CLAUDE, active=False), OPENAI)),
        catalog(replace(PRO, provider_id="openai")),
        catalog(replace(PRO, model_class="standard")),
    ],
)
def test_what_is_inactive_serves_nobody(known: Catalog) -> None:
    with pytest.raises(ModelUnavailable):
        resolve(known, "draft", NOBODY, NOW)


def test_an_inactive_choice_is_not_passed_over() -> None:
    known = catalog(PRO, replace(PRO, id="off", active=False))

    with pytest.raises(ModelUnavailable):
        resolve(known, "draft", Choices(ModelId("off"), None, None), NOW)


def test_a_step_that_nobody_chose_for_is_refused() -> None:
    with pytest.raises(ModelUnresolved):
        resolve(catalog(default=None), "draft", NOBODY, NOW)


@pytest.mark.parametrize(
    ("lacks", "asks", "capability"),
    [
        ({"json_schema": False}, {}, "json_schema"),
        ({"temperature": False}, {"temperature": 0.0}, "temperature"),
        ({"max_output_tokens": 99}, {}, "max_output_tokens"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    lacks: dict[str, Any], asks: dict[str, Any], capability: str
) -> None:
    pro, default = replace(PRO, provider_id="openai"), ModelClass("openai", "pro")
    known = catalog(replace(pro, capabilities=replace(CAN, **lacks)), default=default)
    route = resolve(known, "draft", NOBODY, NOW)
    able = resolve(catalog(pro, default=default), "draft", NOBODY, NOW)
    check(able, replace(REQUEST, **asks).needs())

    with pytest.raises(CapabilityMissing) as refused:
        check(route, replace(REQUEST, **asks).needs())

    assert refused.value.metadata["capability"] == capability


def test_no_model_of_claude_takes_a_temperature_whatever_its_row_says() -> None:
    with pytest.raises(CapabilityMissing, match="temperature"):
        check(resolve(catalog(), "draft", NOBODY, NOW), replace(REQUEST, temperature=0.0).needs())


def test_a_model_without_a_price_is_refused() -> None:
    known = catalog(replace(PRO, id="free"))

    with pytest.raises(ModelUnpriced):
        check(resolve(known, "draft", NOBODY, NOW), REQUEST.needs())


@pytest.mark.parametrize(("visible", "limit"), [(0, 1000), (100, 400), (900, 1000)])
def test_reasoning_has_room_beside_the_visible_reply(visible: int, limit: int) -> None:
    assert output_limit(PRO, visible) == limit
