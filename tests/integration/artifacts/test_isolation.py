"""What a tenant can name, and what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.artifacts_client import digest_of

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from servicekit.errors import DomainError, Forbidden, InvalidInput

if TYPE_CHECKING:
    from tests.support.artifacts_client import ArtifactsClient


@pytest.fixture
def client(person: ArtifactsClient) -> ArtifactsClient:
    """Here it is a person who tries."""
    return person


NAMES = [
    "",
    "output",
    "output.json/",
    "/output.json",
    "artifacts",
    "artifacts/",
    "artifacts//a",
    "artifacts/a/",
    "artifacts/.",
    "artifacts/..",
    "artifacts/../output.json",
    "artifacts/a/../b",
    "artifacts/.rclone_temp_put_1",
    "artifacts/a\\b",
    "artifacts/a b",
    "artifacts/a\0b",
    "artifacts/a\n",
    "artifacts/%2e%2e",
    "artifacts/お茶",
    "artifacts/a?b",
    "artifacts/a#b",
    "artifacts/1/2/3/4/5/6/7/8",
    "artifacts/" + "a" * 129,
    "artifacts/" + "/".join(["a" * 100] * 6),
    "other/a",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_is_not_plain_is_refused(client: ArtifactsClient, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await client.create_upload(client.draft(name), b"tea")
    assert refused.value.reason in ("ERROR_REASON_REQUEST_INVALID", "ERROR_REASON_NAME_INVALID")


@pytest.mark.parametrize("step", ["", ".", "..", "a/b", "A", "a b", "-a"])
async def test_a_step_that_is_not_plain_is_refused(client: ArtifactsClient, step: str) -> None:
    with pytest.raises(InvalidInput):
        await client.create_upload(client.draft(step=step), b"tea")


async def test_a_foreign_path_and_a_malformed_one_get_the_same_answer(
    client: ArtifactsClient, other_tenant: ArtifactsClient
) -> None:
    theirs = await other_tenant.put_one(b"tea", other_tenant.draft())
    run = theirs.run_id
    paths = [
        theirs.path,
        f"storage/globex/{run}/draft/artifacts/none",
        f"storage/nobody/{run}/draft/output.json",
        theirs.path.replace("globex", "acme/../globex"),
        theirs.path.replace("storage/globex", "storage/acme/storage/globex"),
        theirs.path.replace("storage", "elsewhere"),
        f"/{theirs.path}",
        f"{theirs.path}/",
        theirs.path.replace("globex", "acme").upper(),
        f"storage/acme/{run.upper()}/draft/output.json",
        f"storage/acme/{run}/draft//output.json",
        f"storage/acme/{run}/draft",
        "storage/acme",
        "x",
    ]

    refusals = {await _refusal(client, path) for path in paths}
    assert refusals == {("InvalidInput", "ERROR_REASON_PATH_INVALID", _TEXT)}


async def test_a_foreign_file_cannot_be_copied_or_read_in_a_batch(
    client: ArtifactsClient, other_tenant: ArtifactsClient
) -> None:
    theirs = await other_tenant.put_one(b"tea", other_tenant.draft())

    with pytest.raises(InvalidInput):
        await client.copy(theirs, client.draft())
    pointer = artifact_pb2.ArtifactPointer(path=theirs.path, digest=theirs.digest)
    assert (await client.get(pointer))[0].WhichOneof("outcome") == "status"


async def test_a_foreign_run_is_a_run_that_does_not_exist(
    client: ArtifactsClient, other_tenant: ArtifactsClient
) -> None:
    result = (await client.put((client.draft(run_id=other_tenant.run_id), b"tea")))[0]

    assert "there is no run" in result.status.message
    assert not (client.objects / "storage" / "acme" / other_tenant.run_id).exists()


async def test_a_foreign_upload_is_one_that_does_not_exist(
    client: ArtifactsClient, other_tenant: ArtifactsClient
) -> None:
    upload_id = (await other_tenant.create_upload(other_tenant.draft(), b"tea")).upload.upload_id

    with pytest.raises(DomainError) as refused:
        await client.send_upload(upload_id, b"tea")
    assert refused.value.reason == "ERROR_REASON_UPLOAD_NOT_FOUND"


async def test_nobody_calls_for_a_tenant_that_is_not_theirs(client: ArtifactsClient) -> None:
    for tenant_id in ("globex", "nobody"):
        with pytest.raises(Forbidden) as refused:
            await client.artifacts.GetArtifact(
                pb.GetArtifactRequest(tenant_id=tenant_id, path=client.path())
            )
        assert refused.value.reason == "ERROR_REASON_PERMISSION_DENIED"


async def test_the_same_bytes_of_two_tenants_are_two_files(
    client: ArtifactsClient, other_tenant: ArtifactsClient
) -> None:
    mine = await client.put_one(b"tea", client.draft())
    theirs = await other_tenant.put_one(b"tea", other_tenant.draft())

    assert mine.digest == theirs.digest == digest_of(b"tea")
    client.on_disk(mine.path).write_bytes(b"eat")
    assert await other_tenant.download(theirs.path) == b"tea"


_TEXT = (
    "the path is not one of this tenant's. Use a path that this service returned for the tenant."
)


async def _refusal(client: ArtifactsClient, path: str) -> tuple[str, str, str]:
    with pytest.raises(DomainError) as refused:
        await client.download(path)
    error = refused.value
    return type(error).__name__.removeprefix("Remote"), error.reason, error.message
