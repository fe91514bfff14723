"""Prompts that steps name, labels, and folders that are applied as a whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.audit_log import chain

from nagaya.runs.v1 import pipeline_pb2
from runs.domain.activities import RunRef
from runs.errors import PromptShared, PromptUnusable, PromptVersionNotFound
from runs.store import prompts as prompt_store
from runs.wire import pipelines as wire
from servicekit.call import acting_as
from servicekit.errors import PermissionDenied, RequestInvalid
from servicekit.identity import Principal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg
    from tests.support.runs_service import RunsService

    from runs.domain.applied_pipelines import AppliedPipeline
    from runs.domain.pipelines import PipelineSpec

TEXT = {"variable": "text", "output": {"step": "input"}}


def extract(**llm: object) -> dict[str, Any]:
    return {"step": "extract", "llm": {"bindings": [TEXT], **llm}}


def spec(*steps: dict[str, Any]) -> PipelineSpec:
    return wire.pipeline_spec(ParseDict({"steps": list(steps)}, pipeline_pb2.PipelineSpec()))


async def prompt(service: RunsService, name: str, content: str, *, active: bool = True) -> int:
    number = len(await listed(service, name)) + 1
    created = await service.prompts.create("acme", f"{name}-{number}", name, content)
    if active:
        await service.prompts.activate("acme", name, created.version)
    return created.version


async def listed(service: RunsService, name: str = "") -> list[tuple[str, int]]:
    async with service.tenants.connection("acme") as connection:
        page = await prompt_store.page(connection, name, 200, "")
    return [(each.prompt, each.version) for each in page.items]


async def apply(
    service: RunsService,
    pipeline: str,
    steps: list[dict[str, Any]],
    prompts: Mapping[str, str] | None = None,
    *,
    validate_only: bool = False,
    allow_shared: bool = False,
) -> AppliedPipeline:
    return await service.applying.apply(
        "acme",
        pipeline,
        spec(*steps),
        list((prompts or {}).items()),
        validate_only=validate_only,
        allow_shared=allow_shared,
    )


async def versions_of(service: RunsService, pipeline: str) -> dict[str, int]:
    """Create a run; return which versions of prompts its steps have."""
    run = await service.run(pipeline=pipeline)
    context = await service.contexts.find(RunRef("acme", run.run_id, 1))
    return dict(context.run.prompt_versions)


async def test_pipelines_whose_steps_have_one_name_use_prompts_of_their_own(
    service: RunsService,
) -> None:
    await prompt(service, "invoices.extract", "INVOICE {{text}}")
    await service.pipeline(extract(prompt="invoices.extract"), name="invoices")
    assert await versions_of(service, "invoices") == {"extract": 1}

    await prompt(service, "extract", "one {{text}}")
    await prompt(service, "extract", "CONTRACT {{text}}")
    await service.pipeline(extract(), name="contracts")

    assert await versions_of(service, "contracts") == {"extract": 2}
    assert await versions_of(service, "invoices") == {"extract": 1}


async def test_activating_tells_which_pipelines_use_the_prompt(service: RunsService) -> None:
    await prompt(service, "extract", "{{text}}")
    await service.pipeline(extract(), name="invoices")
    await service.pipeline({**extract(prompt="extract"), "step": "read"}, name="contracts")
    await service.pipeline(extract(prompt_version=1), name="pinned")
    await service.pipeline(extract(), name="left")
    await service.pipeline({"step": "copy", "function": {"function": "copy"}}, name="left")

    _, uses = await service.prompts.activate("acme", "extract", 1)

    assert [(use.pipeline, use.step) for use in uses] == [
        ("contracts", "read"),
        ("invoices", "extract"),
    ]


async def test_a_prompt_that_no_step_of_the_tenant_can_use_is_named(service: RunsService) -> None:
    await prompt(service, "extract", "{{text}}")

    with pytest.raises(PromptUnusable, match=r"prompt invoices\.extract has no active"):
        await service.pipeline(extract(prompt="invoices.extract"))
    with pytest.raises(PromptUnusable, match="extract has no version labelled canary"):
        await service.pipeline(extract(prompt_label="canary"))


async def test_a_label_chooses_the_version_of_runs_that_are_created_afterwards(
    service: RunsService, database: asyncpg.Connection
) -> None:
    for number in (1, 2, 3):
        await prompt(service, "extract", f"take {number} {{{{text}}}}")
    await service.prompts.set_label("acme", "extract", "canary", 1)
    await service.pipeline(extract(prompt_label="canary"))
    assert await versions_of(service, "article") == {"extract": 1}

    labelled, uses = await service.prompts.set_label("acme", "extract", "canary", 2)
    await service.prompts.set_label("acme", "extract", "canary", 2)

    assert labelled is not None
    assert (labelled.version, labelled.labels) == (2, ("canary",))
    assert [(use.pipeline, use.label) for use in uses] == [("article", "canary")]
    assert await versions_of(service, "article") == {"extract": 2}
    with pytest.raises(PromptVersionNotFound):
        await service.prompts.set_label("acme", "extract", "canary", 9)
    removed, _ = await service.prompts.set_label("acme", "extract", "canary", 0)
    assert removed is None
    with pytest.raises(PromptUnusable):
        await service.run()
    await chain(database)
    found = await database.fetch("SELECT details FROM audit_logs WHERE action = 'prompt.label'")
    assert len(found) == 3


async def test_a_prompt_is_rendered_and_no_model_is_called(service: RunsService) -> None:
    await prompt(service, "extract", "Take {{ what }} out of {{text}}.")
    values = {"what": "{{text}}", "text": "5"}

    text, draft, version = await service.prompts.render("acme", ("extract", 0, ""), "", values)
    assert (text, draft.variables, version) == ("Take {{text}} out of 5.", ("what", "text"), 1)
    named = ("extract", 0, "")
    trial = await service.prompts.render("acme", named, "Only {{text}}", {"text": "5"})
    assert (trial[0], trial[2]) == ("Only 5", 0)
    with pytest.raises(PromptUnusable, match=r"no value is given for what; .*no variable more"):
        await service.prompts.render("acme", ("extract", 1, ""), "", {"text": "", "more": ""})
    with pytest.raises(PromptVersionNotFound, match="no version labelled canary"):
        await service.prompts.render("acme", ("extract", 0, "canary"), "", {})


async def test_a_pipeline_and_its_prompts_are_applied_together(
    service: RunsService, database: asyncpg.Connection
) -> None:
    steps = [extract(prompt="invoices.extract")]
    given = {"invoices.extract": "Take {{text}}"}
    first = await apply(service, "invoices", steps, prompts=given)
    again = await apply(service, "invoices", steps, prompts=given)

    assert (first.version.version, first.created, first.prompts[0].changed) == (1, True, True)
    assert (again.version.version, again.created, again.prompts[0].changed) == (1, False, False)
    changed = {"invoices.extract": "Take {{text}} in {{language}}"}
    with pytest.raises(PromptUnusable, match="needs language"):
        await apply(service, "invoices", steps, prompts=changed)
    language = {"variable": "language", "text": "English"}
    both = [extract(prompt="invoices.extract", bindings=[TEXT, language])]
    tried = await apply(service, "invoices", both, prompts=changed, validate_only=True)
    assert (tried.version.version, tried.prompts[0].replaced_version) == (2, 1)
    assert await listed(service) == [("invoices.extract", 1)]

    done = await apply(service, "invoices", both, prompts=changed)
    assert (done.version.version, done.version.digest) == (2, tried.version.digest)
    assert done.prompts[0].version.content == changed["invoices.extract"]
    back = await apply(service, "invoices", steps, prompts=given)
    assert back.prompts[0].version.version == 1  # which has the content already
    active = await database.fetch("SELECT version FROM prompts WHERE is_active")
    assert [row["version"] for row in active] == [1]


async def test_a_prompt_that_others_use_changes_only_when_that_is_meant(
    service: RunsService,
) -> None:
    await prompt(service, "extract", "{{text}}")
    await service.pipeline(extract(), name="contracts")

    with pytest.raises(PromptShared) as refusal:
        await apply(service, "invoices", [extract()], prompts={"extract": "INVOICE {{text}}"})
    assert refusal.value.metadata == {"prompt": "extract", "pipelines": "contracts"}
    assert await versions_of(service, "contracts") == {"extract": 1}

    await apply(service, "invoices", [extract()], prompts={"extract": "{{text}}"})
    shared = {"extract": "INVOICE {{text}}"}
    await apply(service, "invoices", [extract()], prompts=shared, allow_shared=True)
    assert await versions_of(service, "contracts") == {"extract": 2}


async def test_what_no_step_uses_is_refused(service: RunsService) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        await apply(service, "invoices", [extract()], prompts={"extrakt": "{{text}}"})
    assert [each.field for each in refusal.value.violations] == ["prompts[0].prompt"]
    assert await listed(service) == []


async def test_whoever_may_not_write_prompts_applies_none(service: RunsService) -> None:
    await prompt(service, "extract", "{{text}}")
    may_not = Principal("bob", None, frozenset({"*"}), frozenset({"pipelines.write"}))
    with acting_as(may_not):
        assert (await apply(service, "invoices", [extract()])).created
        with pytest.raises(PermissionDenied):
            await apply(service, "invoices", [extract()], prompts={"extract": "x {{text}}"})


async def test_many_who_apply_the_same_at_once_make_one_version(service: RunsService) -> None:
    steps = [extract(prompt="a"), {**extract(prompt="b"), "step": "second"}]
    orders = [{"a": "A {{text}}", "b": "B {{text}}"}, {"b": "B {{text}}", "a": "A {{text}}"}]
    applied = await asyncio.gather(
        *(apply(service, "invoices", steps, prompts=orders[n % 2]) for n in range(10))
    )

    assert sum(each.created for each in applied) == 1
    assert sorted(await listed(service)) == [("a", 1), ("b", 1)]


async def test_a_pipeline_of_an_earlier_release_keeps_its_prompts(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await prompt(service, "extract", "{{text}}")
    await service.pipeline(extract())
    stored = await database.fetchval("SELECT prompts::text FROM pipelines")

    assert stored == '{"extract": {"version": 0, "variables": ["text"]}}'
    assert await versions_of(service, "article") == {"extract": 1}
