"""Which model serves a step, by which rule, and how soon a change counts."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.catalog import (
    model,
    new_name,
    price,
    set_default,
    set_model,
    set_override,
    set_price,
    set_provider,
)
from tests.support.gateway_client import GatewayClient, Refused, by_id, of_class

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2, model_pb2

if TYPE_CHECKING:
    import asyncpg
    from tests.support.gateway_stack import GatewayStack

RULES = {
    "request": model_pb2.RESOLUTION_RULE_REQUEST,
    "run": model_pb2.RESOLUTION_RULE_RUN,
    "override": model_pb2.RESOLUTION_RULE_TENANT_OVERRIDE,
    "default": model_pb2.RESOLUTION_RULE_STEP_DEFAULT,
}
# What the contract says, in the database's own words and with nothing of the service's.
ORACLE = """
    WITH chosen (place, rule, provider_id, model_class, model_id) AS (
        VALUES (1, 'request', $1::text, $2::text, $3::text), (2, 'run', $4, $5, $6),
               (3, 'override', $7, $8, NULL)
        UNION ALL
        SELECT 4, 'default', provider_id, model_class, NULL FROM step_llm_defaults WHERE step = $9
    ), first AS (
        SELECT * FROM chosen WHERE provider_id IS NOT NULL OR model_id IS NOT NULL
         ORDER BY place LIMIT 1
    )
    SELECT f.rule, (
        SELECT m.id FROM llm_models AS m JOIN llm_providers AS p ON p.id = m.provider_id
         WHERE m.is_active AND p.is_active
           AND (m.id = f.model_id
                OR f.model_id IS NULL
                   AND (m.provider_id, m.model_class) = (f.provider_id, f.model_class))
         ORDER BY m.set_in_version DESC, m.id DESC LIMIT 1
    ) AS model_id
      FROM first AS f
"""


@pytest.mark.parametrize(
    ("step", "provider_id", "model_class"),
    [
        ("outline", "claude", "pro"),
        ("research", "gemini", "standard"),
        ("draft", "claude", "standard"),
        ("review", "openai", "pro"),
        ("polish", "openai", "standard"),
    ],
)
async def test_the_steps_of_an_article_have_models_with_prices(
    client: GatewayClient, step: str, provider_id: str, model_class: str
) -> None:
    chosen = await client.resolve(step)

    assert (chosen.provider_id, chosen.model_class) == (provider_id, model_class)
    assert chosen.rule == RULES["default"]
    assert chosen.price_id.startswith(f"{chosen.model_id}@")


async def test_500_random_resolutions_are_those_of_the_oracle(
    client: GatewayClient, management: asyncpg.Connection
) -> None:
    seed = secrets.randbits(30)
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    models = [new_name("m") for _ in range(8)]
    classes = [new_name("c") for _ in range(3)]
    steps = [new_name("s") for _ in range(5)]
    providers = ("claude", "gemini", "openai")
    for name in models:  # all active, so that defaults and overrides can be set
        await set_model(client, model(name, chance.choice(providers), chance.choice(classes)))
    known = await management.fetch(
        "SELECT id, provider_id, model_class FROM llm_models WHERE id = ANY($1)", models
    )
    pairs = [(row["provider_id"], row["model_class"]) for row in known]
    overrides: dict[str, tuple[str, str]] = {}
    for step in steps:
        if chance.random() < 0.6:
            await set_default(client, step, *chance.choice(pairs))
        if chance.random() < 0.5:
            overrides[step] = chance.choice(pairs)
            await set_override(client, step, *overrides[step])
    for row in known:  # then some are taken away
        if chance.random() < 0.3:
            gone = model(row["id"], row["provider_id"], row["model_class"], active=False)
            await set_model(client, gone)

    def choice() -> tuple[str | None, str | None, str | None]:
        kind = chance.random()
        if kind < 0.6:
            return None, None, None
        return (*chance.choice(pairs), None) if kind < 0.8 else (None, None, chance.choice(models))

    for _ in range(500):
        step, request, run = chance.choice(steps), choice(), choice()
        override = overrides.get(step, (None, None))
        row = await management.fetchrow(ORACLE, *request, *run, *override, step)
        choices = {
            name: by_id(chosen[2]) if chosen[2] else of_class(str(chosen[0]), str(chosen[1]))
            for name, chosen in (("model", request), ("run_model", run))
            if any(chosen)
        }
        assert await outcome(client, step, choices) == expected(row), f"seed {seed}"


async def outcome(
    client: GatewayClient, step: str, choices: dict[str, model_pb2.ModelChoice]
) -> tuple[str, int]:
    """Return the model and the rule, or the reason for having none."""
    try:
        found = await client.resolve(step, **choices)
    except Refused as refused:
        return refused.reason, 0
    return found.model_id, found.rule


def expected(row: asyncpg.Record | None) -> tuple[str, int]:
    if row is None:
        return "MODEL_UNRESOLVED", 0
    if row["model_id"] is None:
        return "MODEL_UNAVAILABLE", 0
    return row["model_id"], RULES[row["rule"]]


async def test_a_changed_default_counts_in_every_process_within_two_seconds(
    stack: GatewayStack, client: GatewayClient
) -> None:
    step = new_name("s")
    await set_default(client, step, "claude", "pro")
    for provider_id in ("gemini", "openai", "claude"):
        await set_default(client, step, provider_id, "standard")
        committed = time.monotonic()
        for gateway in stack.gateways:
            other = await client.via(gateway)
            await asyncio.sleep(max(0.0, committed + 1.9 - time.monotonic()))
            done = await other.generate(other.spec(step=step, call=secrets.randbelow(999) + 1))
            assert done.call.resolution.provider_id == provider_id
            assert done.call.resolution.rule == RULES["default"]


async def test_a_catalogue_that_no_statement_could_read_is_followed_again(
    stack: GatewayStack, client: GatewayClient, management: asyncpg.Connection
) -> None:
    gateway = stack.gateways[1]
    await management.execute("ALTER TABLE llm_catalog RENAME TO llm_catalog_elsewhere")
    try:
        await gateway.wait_until_logged("catalog.failed")
    finally:
        await management.execute("ALTER TABLE llm_catalog_elsewhere RENAME TO llm_catalog")
    step = new_name("s")
    await set_default(client, step, "claude", "pro")
    version = (await client.resolve(step)).catalog_version
    await (await client.via(gateway)).wait_until_catalog(version)


async def test_an_override_counts_at_once_and_for_its_tenant_only(
    stack: GatewayStack, client: GatewayClient
) -> None:
    step = new_name("s")
    await set_default(client, step, "claude", "standard")
    await set_override(client, step, "openai", "pro")
    other = await client.for_tenant("globex")

    mine, theirs = await client.resolve(step), await other.resolve(step)
    await client.change_catalog(
        "DeleteTenantStepOverride",
        pb.DeleteTenantStepOverrideRequest(tenant_id="acme", step=step),
    )

    assert (mine.provider_id, mine.rule) == ("openai", RULES["override"])
    assert (theirs.provider_id, theirs.rule) == ("claude", RULES["default"])
    assert (await client.resolve(step)).rule == RULES["default"]


async def test_what_cannot_resolve_cannot_be_set(client: GatewayClient) -> None:
    for setting in (set_default, set_override):
        with pytest.raises(Refused) as unknown:
            await setting(client, "draft", "nobody", "standard")
        with pytest.raises(Refused) as empty:
            await setting(client, "draft", "claude", "tiny")
        assert (unknown.value.reason, empty.value.reason) == (
            "PROVIDER_NOT_FOUND",
            "MODEL_UNAVAILABLE",
        )
    with pytest.raises(Refused) as orphan:
        await set_model(client, model(new_name("m"), "nobody", "pro"))
    assert orphan.value.reason == "PROVIDER_NOT_FOUND"
    assert (await client.resolve("draft")).provider_id == "claude"


async def test_an_unpriced_model_is_resolved_and_not_called(client: GatewayClient) -> None:
    name = new_name("m")
    await set_model(client, model(name, "claude", new_name("c")))
    await set_price(client, price(name, datetime.now(UTC) + timedelta(hours=1), 5))

    resolved = await client.resolve("draft", model=by_id(name))
    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(model=by_id(name)))

    assert (resolved.model_id, resolved.price_id) == (name, "")
    assert refused.value.reason == "MODEL_UNPRICED"
    assert client.provider_calls() == []


@pytest.mark.parametrize(
    ("needs", "priced", "reason"),
    [
        ({}, False, "MODEL_UNPRICED"),
        ({"json_schema": True}, True, "CAPABILITY_MISSING"),
        ({"temperature": True}, True, "CAPABILITY_MISSING"),
        ({"max_output_tokens": 1001}, True, "CAPABILITY_MISSING"),
    ],
)
async def test_what_a_call_would_be_refused_for_is_reported_without_one(
    client: GatewayClient, needs: dict[str, Any], reason: str, *, priced: bool
) -> None:
    name = new_name("m")
    await set_model(client, model(name, "claude", new_name("c")))
    if priced:
        await set_price(client, price(name, datetime.now(UTC) - timedelta(hours=1), 5))
        plain = generation_service_pb2.ModelNeeds(max_output_tokens=1000)
        found = await client.resolve("draft", model=by_id(name), needs=plain)
        assert found.model_id == name

    needed = generation_service_pb2.ModelNeeds(**needs)
    with pytest.raises(Refused) as refused:
        await client.resolve("draft", model=by_id(name), needs=needed)
    assert refused.value.reason == reason
    assert client.provider_calls() == []


async def test_a_provider_without_a_key_is_reported_without_a_call(client: GatewayClient) -> None:
    provider_id, name = new_name("p"), new_name("m")
    format_ = model_pb2.WIRE_FORMAT_OPENAI_CHAT
    await set_provider(client, provider_id, "https://models.example", format_)
    await set_model(client, model(name, provider_id, "pro"))
    await set_price(client, price(name, datetime.now(UTC) - timedelta(hours=1), 5))
    assert (await client.resolve("draft", model=by_id(name))).model_id == name

    needs = generation_service_pb2.ModelNeeds()
    with pytest.raises(Refused) as refused:
        await client.resolve("draft", model=by_id(name), needs=needs)
    assert refused.value.reason == "PROVIDER_KEY_MISSING"
