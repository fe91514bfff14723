"""The catalogue: what can be set and what is refused, in pages and by those who may."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.audit_log import chain
from tests.support.catalog import (
    entries_and_version,
    model,
    new_name,
    price,
    set_default,
    set_model,
    set_override,
    set_price,
    set_provider,
)
from tests.support.gateway_client import GatewayClient, Refused, by_id
from tests.support.processes import ROOT

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya.llm_gateway.v1 import model_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg
    from tests.support.gateway_stack import GatewayStack

MIGRATIONS = ROOT / "services" / "llm-gateway" / "migrations"


async def test_prices_are_added_and_never_changed(client: GatewayClient) -> None:
    name, moment = new_name("m"), datetime(2026, 11, 1, tzinfo=UTC)
    await set_model(client, model(name, "claude", new_name("c")))
    first = await set_price(client, price(name, moment, 5))
    again = await set_price(client, price(name, moment, 5))
    with pytest.raises(Refused) as refused:
        await set_price(client, price(name, moment, 6))
    later = await set_price(client, price(name, moment + timedelta(days=1), 6))
    longer = await set_price(client, price(name, moment, 9, length=100))

    listed = await client.change_catalog(
        "ListPrices", pb.ListPricesRequest(model_id=name, page_size=2)
    )
    rest = await client.change_catalog(
        "ListPrices",
        pb.ListPricesRequest(model_id=name, page_size=2, page_token=listed.next_page_token),
    )

    assert first == again
    assert refused.value.reason == "PRICE_CONFLICT"
    assert refused.value.metadata["price_id"] == first.price_id
    assert [*listed.prices, *rest.prices] == [later, longer, first]
    assert rest.next_page_token == ""
    with pytest.raises(Refused) as unknown:
        await client.change_catalog("ListPrices", pb.ListPricesRequest(model_id="nothing"))
    assert unknown.value.reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("year", "micro_usd"), [(1, 1), (9999, 1), (2026, 10**12 + 1)], ids=["old", "far", "dear"]
)
async def test_a_price_that_nobody_could_count_with_is_refused(
    client: GatewayClient, year: int, micro_usd: int
) -> None:
    moment = datetime(year, 1, 1, tzinfo=UTC)

    with pytest.raises(Refused) as refused:
        await set_price(client, price("gemini-3.8-flash", moment, micro_usd))

    assert refused.value.reason == "REQUEST_INVALID"
    assert (await client.resolve("draft", model=by_id("gemini-3.8-flash"))).price_id


async def test_delivered_limits_are_corrected_where_nobody_has_set_them(
    stack: GatewayStack,
) -> None:
    name = f"scratch_{secrets.token_hex(4)}"
    await stack.postgres.create_management_database(name)
    scratch = await stack.database(name)
    try:
        await scratch.execute((MIGRATIONS / "0001_catalog.sql").read_text())
        await scratch.execute(
            """
            UPDATE llm_models SET max_input_tokens = 7, set_in_version = 2
             WHERE id = 'gpt-6.2-sol'
            """
        )
        await scratch.execute((MIGRATIONS / "0002_model_limits.sql").read_text())
        limits = await scratch.fetch(
            "SELECT id, max_input_tokens, max_output_tokens FROM llm_models"
        )
        version = await scratch.fetchval("SELECT version FROM llm_catalog")
    finally:
        await scratch.close()

    found = {row["id"]: (row["max_input_tokens"], row["max_output_tokens"]) for row in limits}
    assert found["gpt-6.2-sol"] == (7, 128_000)
    assert found["gpt-6.2-astra"] == (922_000, 128_000)
    assert found["claude-sonnet-5-5"] == (1_000_000, 128_000)
    assert sum(found["gemini-4-argon"]) == 1_048_576
    assert version == 2


@pytest.mark.parametrize(
    ("method", "request_type", "field", "key"),
    [
        ("ListProviders", pb.ListProvidersRequest, "providers", "provider_id"),
        ("ListModels", pb.ListModelsRequest, "models", "model_id"),
        ("ListStepDefaults", pb.ListStepDefaultsRequest, "step_defaults", "step"),
    ],
)
async def test_lists_come_in_pages_by_id(
    client: GatewayClient, method: str, request_type: Callable[..., object], field: str, key: str
) -> None:
    found: list[str] = []
    token = ""
    while True:
        page = await client.change_catalog(method, request_type(page_size=2, page_token=token))
        found += [getattr(each, key) for each in getattr(page, field)]
        token = page.next_page_token
        if not token:
            break
    whole = await client.change_catalog(method, request_type(page_size=200))

    assert found == sorted(found)
    assert found == [getattr(each, key) for each in getattr(whole, field)]
    assert len(found) >= 3


async def test_overrides_come_in_pages_by_step(client: GatewayClient) -> None:
    steps = sorted(new_name("s") for _ in range(3))
    for step in steps:
        await set_override(client, step, "claude", "pro")

    request = pb.ListTenantStepOverridesRequest(tenant_id="acme", page_size=200)
    found = await client.change_catalog("ListTenantStepOverrides", request)

    listed = [each.step for each in found.overrides]
    assert listed == sorted(listed)
    assert set(steps) <= set(listed)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:80", "http://169.254.169.254", "http://localhost.evil"]
)
async def test_a_key_is_not_sent_to_a_plain_http_host(client: GatewayClient, url: str) -> None:
    with pytest.raises(Refused) as refused:
        await set_provider(client, new_name("p"), url, 1)

    assert refused.value.reason == "BASE_URL_REFUSED"


async def test_a_provider_without_a_key_is_not_called_until_its_key_comes(
    stack: GatewayStack, client: GatewayClient
) -> None:
    name, provider_id = new_name("m"), new_name("p")
    await set_provider(client, provider_id, stack.stub.url, 3)
    await set_model(client, model(name, provider_id, "pro"))
    await set_price(client, price(name, datetime(2026, 11, 1, tzinfo=UTC), 5))
    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(model=by_id(name)))

    keys = json.loads(stack.keys_file.read_text())
    stack.keys_file.write_text(json.dumps({**keys, provider_id: "a-new-key-CANARY"}))
    done = await client.generate(client.spec(model=by_id(name)))

    assert refused.value.reason == "PROVIDER_KEY_MISSING"
    assert done.call.resolution.provider_id == provider_id
    (sent,) = client.provider_calls()
    assert sent["path"] == "/v1/chat/completions"


async def test_every_change_is_one_version_and_one_row_in_the_audit_log(
    client: GatewayClient, management: asyncpg.Connection
) -> None:
    before = await management.fetchval("SELECT version FROM llm_catalog")
    step = new_name("s")
    await set_default(client, step, "claude", "pro")
    after = await management.fetchval("SELECT version FROM llm_catalog")

    await chain(management)
    row = await management.fetchrow("SELECT * FROM audit_logs WHERE resource_id = $1", step)
    assert after == before + 1
    assert row is not None
    assert (row["action"], row["user_id"]) == ("step_default.set", "ada")
    assert (await client.resolve(step)).catalog_version == after


async def test_what_is_set_as_it_is_already_is_no_change(
    client: GatewayClient, management: asyncpg.Connection
) -> None:
    step, name, provider_id = new_name("s"), new_name("m"), new_name("p")
    older = model(name, "claude", new_name("c"))
    newer = model(new_name("m"), "claude", older.model_class)
    for each in (older, newer):
        await set_model(client, each)
    await set_default(client, step, "claude", "pro")
    await set_provider(client, provider_id, "https://api.example.com", 3)
    await set_override(client, step, "claude", "pro")
    before = await entries_and_version(management)

    await set_model(client, newer)
    await set_default(client, step, "claude", "pro")
    await set_provider(client, provider_id, "https://api.example.com", 3)
    assert await entries_and_version(management) == before

    await set_model(client, older)  # it is the latest of its class now, and was not before
    assert await entries_and_version(management) == (before[0] + 1, before[1] + 1)


async def test_an_override_that_is_set_as_it_is_already_is_no_change(
    client: GatewayClient,
) -> None:
    step = new_name("s")
    for model_class in ("pro", "pro", "standard", "standard", "pro"):
        await set_override(client, step, "claude", model_class)

    await chain(client.database)
    entries = await client.database.fetch(
        "SELECT action FROM audit_logs WHERE resource_id = $1", step
    )
    assert [entry["action"] for entry in entries] == ["override.set"] * 3


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000, 2**31 - 1])
async def test_a_price_s_time_that_is_none_is_refused(client: GatewayClient, nanos: int) -> None:
    dated = price("gemini-3.8-flash", datetime(2026, 11, 1, tzinfo=UTC), 5)
    dated.effective_time.nanos = nanos

    with pytest.raises(Refused) as refused:
        await set_price(client, dated)

    assert refused.value.reason == "REQUEST_INVALID"


CHANGES_OF_ALL = {
    "SetProvider": pb.SetProviderRequest(
        provider=model_pb2.Provider(
            provider_id="claude",
            display_name="Mine",
            active=True,
            wire_format=model_pb2.WIRE_FORMAT_CLAUDE_MESSAGES,
        )
    ),
    "SetModel": pb.SetModelRequest(model=model("claude-opus-5-5", "claude", "pro")),
    "SetPrice": pb.SetPriceRequest(
        price=price("gemini-3.8-flash", datetime(2026, 12, 1, tzinfo=UTC), 0)
    ),
    "SetStepDefault": pb.SetStepDefaultRequest(
        step_default=model_pb2.StepDefault(
            step="draft",
            model_class=model_pb2.ModelClass(provider_id="claude", model_class="pro"),
        )
    ),
}


@pytest.mark.parametrize("method", CHANGES_OF_ALL)
async def test_what_is_everybody_s_is_changed_with_a_token_for_all_tenants_only(
    stack: GatewayStack, client: GatewayClient, management: asyncpg.Connection, method: str
) -> None:
    before = await management.fetchval("SELECT version FROM llm_catalog")
    token = stack.keys.token("eve", scope="*", tenants=["acme"])

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(client.catalog, method)(
            CHANGES_OF_ALL[method], metadata=[("authorization", f"Bearer {token}")]
        )

    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert await management.fetchval("SELECT version FROM llm_catalog") == before


async def test_only_those_who_may_can_change_the_catalogue(
    stack: GatewayStack, client: GatewayClient
) -> None:
    token = stack.keys.token("eve", scope="catalog.read runs.*")
    request = pb.SetStepDefaultRequest(
        step_default=model_pb2.StepDefault(
            step="draft",
            model_class=model_pb2.ModelClass(provider_id="claude", model_class="pro"),
        )
    )

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.catalog.SetStepDefault(
            request, metadata=[("authorization", f"Bearer {token}")]
        )

    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
