"""People give a run its input while it is held, and not a moment longer."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from tests.integration.artifacts.refusals import RESERVED, authors, reserved, traces
from tests.support.artifacts_client import MEBIBYTE, ArtifactsClient, digest_of, pieces, reason_of
from tests.support.waiting import fewer_run, wait_until

from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from servicekit.errors import Conflict, Forbidden, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from tests.support.databases import TenantDatabases

    from artifacts.composition import Composition

BRIEF = b'{"title": "Tea"}'


@pytest.mark.parametrize("name", ["output.json", "artifacts/note.txt"])
async def test_a_person_writes_no_input_of_a_run_that_is_not_held(
    person: ArtifactsClient,
    tenant_databases: TenantDatabases,
    database: asyncpg.Connection,
    name: str,
) -> None:
    source = await person.put_one(BRIEF, person.draft())
    started = await _started(person, tenant_databases, database)
    draft = started.draft(name)

    await reserved(started.create_upload(draft, BRIEF), "runs")
    await reserved(started.copy(source, draft), "runs")
    await reserved(started.copy(source, draft, "/title"), "runs")
    refusal = (await started.put((draft, BRIEF)))[0].status
    assert reason_of(refusal) == RESERVED
    assert "the run is not held" in refusal.message
    assert "a run that is held, until it is started" in refusal.message
    assert await traces(database, started) == {}


async def test_a_run_that_was_created_with_its_input_goes_through_that(
    client: ArtifactsClient,
    person: ArtifactsClient,
    tenant_databases: TenantDatabases,
    database: asyncpg.Connection,
) -> None:
    """Its first activity commits the input; until then nobody else can."""
    started = await _started(person, tenant_databases, database)
    with pytest.raises(Forbidden):
        await started.upload(started.draft(), b'"forged"')

    draft = client.draft(step="input", run_id=started.run_id)
    committed = await client.put_one(b'"true"', draft)
    assert await client.download(committed.path) == b'"true"'
    refused = (await started.put((started.draft(), b'"forged"')))[0].status
    assert reason_of(refused) == RESERVED
    assert await client.download(committed.path) == b'"true"'


async def test_what_was_announced_while_the_run_was_held_is_not_taken_after_its_start(
    person: ArtifactsClient, database: asyncpg.Connection
) -> None:
    upload_id = (await person.create_upload(person.draft(), BRIEF)).upload.upload_id
    await _start(database, person)

    await reserved(person.send_upload(upload_id, BRIEF), "runs")
    await reserved(person.create_upload(person.draft(), BRIEF), "runs")
    assert await traces(database, person) == {"uploads": 1}


async def test_a_file_on_its_way_when_the_run_is_started_is_not_committed(
    client: ArtifactsClient,
    person: ArtifactsClient,
    service: Composition,
    database: asyncpg.Connection,
) -> None:
    body, may_go_on = os.urandom(3 * MEBIBYTE), asyncio.Event()
    upload_id = (await person.create_upload(person.draft(), body)).upload.upload_id
    sending = asyncio.ensure_future(_send_slowly(person, upload_id, body, may_go_on))

    async def has_begun() -> bool:
        return "artifact_writes" in await traces(database, person)

    await wait_until(has_begun, unless=fewer_run((sending,)))
    await _start(database, person)
    may_go_on.set()

    await reserved(sending, "runs")
    assert await authors(database, person) == {}
    with pytest.raises(NotFound):
        await person.download(person.path())

    # Nobody waits for the place, and if it stays empty what lies there is removed.
    await database.execute(
        "UPDATE artifact_writes SET renewed_at = now() - interval '3 hours' WHERE run_id = $1",
        person.run_id,
    )
    await service.collector.collect("acme")
    assert await traces(database, person) == {"uploads": 1}
    committed = await client.put_one(b'"true"', client.draft(step="input"))
    assert await person.download(committed.path) == b'"true"'


async def test_the_file_that_the_run_was_started_with_may_be_sent_again(
    person: ArtifactsClient, database: asyncpg.Connection
) -> None:
    """As a caller does whose answer was lost."""
    source = await person.put_one(BRIEF, person.draft("artifacts/source"))
    upload_id = (await person.create_upload(person.draft(), BRIEF)).upload.upload_id
    committed = await person.send_upload(upload_id, BRIEF)
    await _start(database, person)
    before = await traces(database, person)

    assert (await person.create_upload(person.draft(), BRIEF)).artifact == committed
    assert await person.send_upload(upload_id, BRIEF) == committed
    assert await person.put_one(BRIEF, person.draft()) == committed
    assert await person.copy(source, person.draft()) == committed
    await reserved(person.create_upload(person.draft(), b"other"), "runs")
    await reserved(person.copy(source, person.draft(), "/title"), "runs")
    assert reason_of((await person.put((person.draft(), b"other")))[0].status) == RESERVED
    assert await traces(database, person) == before


async def test_of_a_batch_the_runs_that_are_held_get_their_input(
    person: ArtifactsClient, tenant_databases: TenantDatabases, database: asyncpg.Connection
) -> None:
    started = await _started(person, tenant_databases, database)
    results = await person.put(
        (started.draft(), BRIEF), (person.draft(), BRIEF), (started.draft("artifacts/a"), BRIEF)
    )

    assert results[1].artifact.path == person.path()
    assert [reason_of(results[at].status) for at in (0, 2)] == [RESERVED] * 2
    assert await traces(database, started) == {}


@pytest.mark.parametrize("by_upload", [False, True])
async def test_whatever_comes_while_the_run_is_started_it_goes_through_what_is_committed(
    person: ArtifactsClient, database: asyncpg.Connection, *, by_upload: bool
) -> None:
    async def write(body: bytes) -> str:
        try:
            if by_upload:
                return (await person.upload(person.draft(), body)).digest
            result = (await person.put((person.draft(), body)))[0]
        except (Conflict, Forbidden):
            return ""
        return result.artifact.digest

    async def start() -> str:
        """Do as StartRun: look for the input, then let the run go with it."""
        request = pb.GetArtifactRequest(tenant_id="acme", path=person.path())
        while True:
            try:
                found = await person.artifacts.GetArtifact(request)
            except NotFound:
                continue
            await _start(database, person)
            return found.artifact.digest

    bodies = [b'"%d"' % number for number in range(24)]
    taken, *digests = await asyncio.gather(start(), *map(write, bodies))

    assert [digest for digest in digests if digest] == [taken]
    assert digest_of(await person.download(person.path())) == taken


async def _started(
    person: ArtifactsClient, tenant_databases: TenantDatabases, database: asyncpg.Connection
) -> ArtifactsClient:
    """Return what a person sees of a run that waits for nothing."""
    started = ArtifactsClient(
        person.channel,
        person.objects,
        "acme",
        await tenant_databases.create_run("acme"),
        step="input",
    )
    await _start(database, started)
    return started


async def _start(database: asyncpg.Connection, client: ArtifactsClient) -> None:
    await database.execute("UPDATE runs SET held = false WHERE id = $1", client.run_id)


async def _send_slowly(
    client: ArtifactsClient, upload_id: str, body: bytes, may_go_on: asyncio.Event
) -> object:
    """Send an upload, its last pieces only when they may go."""

    async def requests() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(tenant_id=client.tenant_id, upload_id=upload_id)
        first, *others = pieces(body, MEBIBYTE)
        yield pb.UploadArtifactRequest(data=first)
        await may_go_on.wait()
        for piece in others:
            yield pb.UploadArtifactRequest(data=piece)

    return await client.artifacts.UploadArtifact(requests())
