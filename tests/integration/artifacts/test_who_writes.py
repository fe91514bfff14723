"""Who writes what: people the input of a run, llm-gateway its replies, runs everything else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.integration.artifacts.refusals import RESERVED, authors, reserved, traces
from tests.support.artifacts_client import MEBIBYTE, reason_of

from servicekit.errors import Conflict, Forbidden

if TYPE_CHECKING:
    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

REPLY = "artifacts/0-1/call-1.json"
OF_RUNS = [
    ("draft", "output.json", "runs"),
    ("draft", "artifacts/2-1/output.json", "runs"),
    ("draft", "artifacts/0-1/error-1.json", "runs"),
    ("draft", "artifacts/notes.txt", "runs"),
]
OF_GATEWAY = [
    ("draft", REPLY, "llm-gateway"),
    ("draft", f"{REPLY}/in-its-way", "llm-gateway"),
    ("input", REPLY, "llm-gateway"),
]


@pytest.mark.parametrize(("step", "name", "writer"), OF_RUNS + OF_GATEWAY)
async def test_a_person_cannot_announce_what_a_workload_writes(
    person: ArtifactsClient, database: asyncpg.Connection, step: str, name: str, writer: str
) -> None:
    await reserved(person.create_upload(person.draft(name, step), b"forged"), writer)
    assert await traces(database, person) == {}


@pytest.mark.parametrize("size", [3, 12 * MEBIBYTE])
@pytest.mark.parametrize(("name", "writer"), [("output.json", "runs"), (REPLY, "llm-gateway")])
async def test_a_person_cannot_send_what_a_workload_has_announced(
    client: ArtifactsClient,
    gateway: ArtifactsClient,
    person: ArtifactsClient,
    database: asyncpg.Connection,
    *,
    size: int,
    name: str,
    writer: str,
) -> None:
    body, workload = os.urandom(size), client if writer == "runs" else gateway
    upload_id = (await workload.create_upload(workload.draft(name), body)).upload.upload_id

    await reserved(person.send_upload(upload_id, body), writer)
    assert await traces(database, person) == {"uploads": 1}

    committed = await workload.send_upload(upload_id, body)
    assert await workload.download(committed.path) == body
    await reserved(person.send_upload(upload_id, body), writer)


@pytest.mark.parametrize("json_pointer", ["", "/content"])
@pytest.mark.parametrize(("step", "name", "writer"), OF_RUNS + OF_GATEWAY)
async def test_a_person_cannot_copy_to_where_a_workload_writes(
    person: ArtifactsClient,
    database: asyncpg.Connection,
    *,
    step: str,
    name: str,
    writer: str,
    json_pointer: str,
) -> None:
    source = await person.put_one(b'{"content": "forged"}', person.draft())
    before = await traces(database, person)

    await reserved(person.copy(source, person.draft(name, step), json_pointer), writer)
    assert await traces(database, person) == before


async def test_of_a_persons_batch_what_workloads_write_is_refused_alone(
    person: ArtifactsClient, database: asyncpg.Connection
) -> None:
    reserved = [person.draft(name, step) for step, name, _ in OF_RUNS + OF_GATEWAY]
    results = await person.put(
        (person.draft(), b'"a brief"'), *((draft, b"forged") for draft in reserved)
    )

    assert results[0].artifact.path == person.path()
    assert [reason_of(result.status) for result in results[1:]] == [RESERVED] * len(reserved)
    assert await traces(database, person) == {"artifacts": 1, "audit_logs": 1, "objects": 1}


async def test_not_even_the_committed_bytes_are_taken_from_a_person(
    client: ArtifactsClient, person: ArtifactsClient
) -> None:
    await client.put_one(b"tea", client.draft())
    draft = person.draft(step="draft")

    await reserved(person.create_upload(draft, b"tea"), "runs")
    assert reason_of((await person.put((draft, b"tea")))[0].status) == RESERVED


async def test_people_give_a_run_its_input_in_every_way(
    person: ArtifactsClient, database: asyncpg.Connection
) -> None:
    brief, large = b'{"title": "Tea"}', os.urandom(5 * MEBIBYTE)
    given = await person.upload(person.draft(), brief)
    files = {
        given.path: brief,
        (await person.put_one(b"green", person.draft("artifacts/note.txt"))).path: b"green",
        (await person.upload(person.draft("artifacts/1.png"), large)).path: large,
        (await person.copy(given, person.draft("artifacts/title"), "/title")).path: b'"Tea"',
    }

    for path, body in files.items():
        assert path.startswith(f"storage/acme/{person.run_id}/input/")
        assert person.on_disk(path).read_bytes() == body
        assert await person.download(path) == body
    assert await authors(database, person) == {path: "ada" for path in files}


async def test_runs_and_the_gateway_write_what_is_theirs_in_every_way(
    client: ArtifactsClient, gateway: ArtifactsClient, database: asyncpg.Connection
) -> None:
    """As the product does: a reply, its content as the step's output, and what functions write."""
    reply, large = b'{"content": "Tea"}', b'{"content": "' + b"x" * (5 * MEBIBYTE) + b'"}'
    stored = await gateway.put_one(reply, gateway.draft(REPLY))
    lengthy = await gateway.upload(gateway.draft("artifacts/3-1/call-2.json"), large)
    output = await client.copy(stored, client.draft(), "/content")
    of_item = await client.copy(lengthy, client.draft("artifacts/3-1/output.json"), "/content")
    failure = await client.put_one(b"{}", client.draft("artifacts/0-1/error-1.json"))
    scan = await client.upload(client.draft("artifacts/0-1/scan.pdf"), large)
    brief = await client.put_one(b'"a brief"', client.draft(step="input"))
    files = {
        stored.path: reply,
        lengthy.path: large,
        output.path: b'"Tea"',
        of_item.path: large[len(b'{"content": ') : -1],
        failure.path: b"{}",
        scan.path: large,
        brief.path: b'"a brief"',
    }

    for path, body in files.items():
        assert client.on_disk(path).read_bytes() == body
    assert await authors(database, client) == {path: "ada" for path in files}


async def test_neither_workload_writes_what_is_the_others(
    client: ArtifactsClient,
    gateway: ArtifactsClient,
    person: ArtifactsClient,
    database: asyncpg.Connection,
) -> None:
    source = await person.put_one(b'{"content": "tea"}', person.draft())
    before = await traces(database, person)

    for workload, theirs in ((client, OF_GATEWAY), (gateway, OF_RUNS)):
        for step, name, writer in theirs:
            draft = workload.draft(name, step)
            await reserved(workload.create_upload(draft, b"tea"), writer)
            await reserved(workload.copy(source, draft), writer)
            assert reason_of((await workload.put((draft, b"tea")))[0].status) == RESERVED
    await reserved(gateway.create_upload(gateway.draft(step="input"), b"tea"), "runs")
    assert await traces(database, person) == before


async def test_after_a_refused_forgery_the_place_is_free_for_its_writer(
    client: ArtifactsClient, gateway: ArtifactsClient, person: ArtifactsClient
) -> None:
    forged = await person.put_one(b'{"content": "forged"}', person.draft())
    for name in ("output.json", REPLY):
        with pytest.raises(Forbidden):
            await person.upload(person.draft(name, "draft"), b'{"content": "forged"}')
        with pytest.raises(Forbidden):
            await person.copy(forged, person.draft(name, "draft"))

    reply = await gateway.put_one(b'{"content": "true"}', gateway.draft(REPLY))
    output = await client.copy(reply, client.draft(), "/content")
    assert await client.download(output.path) == b'"true"'


async def test_the_input_of_a_run_that_does_not_exist_is_refused_as_before(
    person: ArtifactsClient, other_tenant: ArtifactsClient, database: asyncpg.Connection
) -> None:
    source = await person.put_one(b'"a brief"', person.draft())
    before = await traces(database, person)

    for run_id in (str(uuid4()), other_tenant.run_id):
        draft = person.draft(run_id=run_id)
        for attempt in (person.create_upload(draft, b"tea"), person.copy(source, draft)):
            with pytest.raises(Conflict) as refused:
                await attempt
            assert refused.value.reason == "ERROR_REASON_RUN_NOT_FOUND"
        refusal = (await person.put((draft, b"tea")))[0].status
        assert reason_of(refusal) == "ERROR_REASON_RUN_NOT_FOUND"
        assert not (person.objects / "storage" / "acme" / run_id).exists()
    assert await traces(database, person) == before
