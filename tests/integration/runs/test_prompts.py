from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.support.audit_log import chain

from runs.api.app.prompts import Prompts
from runs.errors import PromptTemplateInvalid, PromptVersionNotFound, RequestIdReused

if TYPE_CHECKING:
    import asyncpg

    from dataplane.tenants import TenantPools
    from servicekit.identity import Principal


@pytest.fixture
def prompts(tenants: TenantPools, ada: Principal) -> Prompts:
    return Prompts(tenants)


async def test_versions_of_a_step_count_up_from_one(prompts: Prompts) -> None:
    first = await prompts.create("acme", "r1", "outline", "Outline {{topic}}.")
    second = await prompts.create("acme", "r2", "outline", "Outline {{topic}} in {{language}}.")

    assert (first.version, second.version) == (1, 2)
    assert second.variables == ("topic", "language")


async def test_a_repeated_request_returns_the_first_version(prompts: Prompts) -> None:
    first = await prompts.create("acme", "r1", "outline", "Outline {{topic}}.")
    again = await prompts.create("acme", "r1", "outline", "Outline {{topic}}.")

    assert again == first


async def test_a_request_id_cannot_be_reused_for_other_content(prompts: Prompts) -> None:
    await prompts.create("acme", "r1", "outline", "Outline {{topic}}.")

    with pytest.raises(RequestIdReused) as refusal:
        await prompts.create("acme", "r1", "outline", "Something else.")
    assert refusal.value.metadata == {"request_id": "r1"}


async def test_concurrent_creations_get_distinct_versions(prompts: Prompts) -> None:
    created = await asyncio.gather(
        *(prompts.create("acme", f"r{n}", "outline", f"Take {n}.") for n in range(20))
    )

    assert sorted(prompt.version for prompt in created) == list(range(1, 21))


@pytest.mark.parametrize(
    "content",
    ["Outline {{topic", "Outline {{topic}", "Outline {{Topic}}", "Outline {{}}", "{{ to pic }}",
     "{{{topic}}}", "{{topic-a}}", r"{{\bf x}} {{topic}}", "<p>{{ message.a }}</p> {{topic}}",
     "{{ topic\n}}"],
)  # fmt: skip
async def test_a_malformed_template_is_refused_and_stores_nothing(
    prompts: Prompts, database: asyncpg.Connection, content: str
) -> None:
    with pytest.raises(PromptTemplateInvalid, match="line 1"):
        await prompts.create("acme", "r1", "outline", content)

    assert await database.fetchval("SELECT count(*) FROM prompts") == 0


@pytest.mark.parametrize(
    "content",
    ["{{topic}}", "{{topic}} {{topic}}", 'say {"a": {"b": 1}} {{topic}}', "{{topic}}}}",
     "{{topic}} {% raw %} {topic} ${topic}", r"\{\{x\}\} {{topic}}", "{{ topic }}",
     "{{{{x}} {{topic}}", "{{{{{{\ttopic}}"],
)  # fmt: skip
async def test_what_other_template_languages_read_is_text(prompts: Prompts, content: str) -> None:
    created = await prompts.create("acme", "r1", "outline", content)

    assert (created.content, list(created.variables)) == (content, ["topic"])


async def test_activating_a_version_deactivates_the_one_before(
    prompts: Prompts, database: asyncpg.Connection
) -> None:
    for n in (1, 2):
        await prompts.create("acme", f"r{n}", "outline", f"Take {n}.")
    await prompts.activate("acme", "outline", 1)
    await prompts.activate("acme", "outline", 2)

    active = await database.fetch("SELECT version FROM prompts WHERE is_active")
    assert [row["version"] for row in active] == [2]


async def test_activating_a_version_that_does_not_exist_changes_nothing(
    prompts: Prompts, database: asyncpg.Connection
) -> None:
    await prompts.create("acme", "r1", "outline", "Take 1.")
    await prompts.activate("acme", "outline", 1)

    with pytest.raises(PromptVersionNotFound):
        await prompts.activate("acme", "outline", 7)

    assert await database.fetchval("SELECT version FROM prompts WHERE is_active") == 1
    await chain(database)
    assert await database.fetchval("SELECT count(*) FROM audit_logs") == 2


async def test_activating_the_active_version_changes_nothing(
    prompts: Prompts, database: asyncpg.Connection
) -> None:
    await prompts.create("acme", "r1", "outline", "Take 1.")
    first = await prompts.activate("acme", "outline", 1)
    again = await prompts.activate("acme", "outline", 1)

    assert again == first
    await chain(database)
    actions = await database.fetch("SELECT action FROM audit_logs ORDER BY sequence")
    assert [row["action"] for row in actions] == ["prompt.create", "prompt.activate"]


async def test_concurrent_activations_leave_one_version_active(
    prompts: Prompts, database: asyncpg.Connection
) -> None:
    for n in range(1, 6):
        await prompts.create("acme", f"r{n}", "outline", f"Take {n}.")
    await asyncio.gather(*(prompts.activate("acme", "outline", n) for n in range(1, 6)))

    assert await database.fetchval("SELECT count(*) FROM prompts WHERE is_active") == 1
