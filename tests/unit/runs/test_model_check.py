"""How often the llm-gateway is asked whether a step gets a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from runs.api.app.model_check import ModelCheck
from runs.domain.models import ModelById, ModelChoice, ModelFault, ModelRequirement
from runs.errors import ModelUnusable

if TYPE_CHECKING:
    from runs.peers.llm_gateway import LlmGateway

NEED = ModelRequirement("draft", None, 0, json_schema=False)


class Gateway:
    """Notes what it is asked; `fault` is its answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ModelRequirement, ModelChoice | None]] = []
        self.fault: ModelFault | None = None

    async def find_model_fault(
        self, tenant_id: str, need: ModelRequirement, chosen: ModelChoice | None
    ) -> ModelFault | None:
        self.asked.append((tenant_id, need, chosen))
        return self.fault


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def check(gateway: Gateway, clock: Clock) -> ModelCheck:
    return ModelCheck(cast("LlmGateway", gateway), clock)


async def test_a_step_that_got_a_model_is_asked_for_again_after_a_second(
    check: ModelCheck, gateway: Gateway, clock: Clock
) -> None:
    for _ in range(5):
        await check.check_lately("acme", [NEED], {})
    assert len(gateway.asked) == 1
    clock.now += 1.0
    gateway.fault = ModelFault("draft", "ERROR_REASON_MODEL_UNRESOLVED", "it has none")

    for _ in range(2):  # a refusal is never remembered
        with pytest.raises(ModelUnusable):
            await check.check_lately("acme", [NEED], {})
    assert len(gateway.asked) == 3


async def test_only_the_same_question_of_the_same_tenant_is_spared(
    check: ModelCheck, gateway: Gateway
) -> None:
    await check.check_lately("acme", [NEED], {})
    await check.check_lately("globex", [NEED], {})
    await check.check_lately("acme", [replace(NEED, json_schema=True)], {})
    await check.check_lately("acme", [NEED], {"draft": ModelById("chosen-1")})

    assert len(gateway.asked) == 4


async def test_a_run_that_waited_for_its_input_is_asked_for_anew(
    check: ModelCheck, gateway: Gateway
) -> None:
    await check.check_lately("acme", [NEED], {})
    await check.check("acme", [NEED], {})

    assert len(gateway.asked) == 2
