"""Parts of a request that are pointed to: read, verified, joined."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway_client import Refused, by_id

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.llm_gateway.v1 import generation_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient

PLAN = {"title": "鶴", "sections": [{"name": "a/b"}, {"name": "~x"}], "n": 3}


def message(
    client: GatewayClient, *parts: artifact_pb2.ArtifactPointer | str
) -> generation_pb2.Message:
    made = [
        generation_pb2.Part(text=part)
        if isinstance(part, str)
        else generation_pb2.Part(pointer=part)
        for part in (f"{client.word} ", *parts)
    ]
    return generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=made)


def pointer(file: artifact_pb2.Artifact, json_pointer: str = "") -> artifact_pb2.ArtifactPointer:
    return artifact_pb2.ArtifactPointer(
        path=file.path, digest=file.digest, json_pointer=json_pointer
    )


async def test_half_a_character_in_a_file_is_sent_as_a_replacement(client: GatewayClient) -> None:
    file = await client.files.write(b'{"title": "half \\ud83e here", "whole": "\\ud83e\\udda9"}')
    parts = (pointer(file, "/title"), "|", pointer(file, "/whole"))

    await client.generate(client.spec(messages=[message(client, *parts)]))

    (sent,) = client.provider_calls()
    assert sent["prompt"] == f"{client.word} half \ufffd here|🦩"


async def test_strings_join_as_their_text_and_other_values_as_json(client: GatewayClient) -> None:
    plan = await client.files.write(json.dumps(PLAN).encode())
    turn = await client.files.write(b'"a \\"string\\"\\n"', step="review")
    notes = await client.files.write(b'"not JSON"', name="artifacts/notes.txt")

    await client.generate(
        client.spec(
            messages=[
                message(
                    client,
                    pointer(plan, "/title"),
                    "|",
                    pointer(plan, "/sections/1"),
                    "|",
                    pointer(plan, "/n"),
                    "|",
                    pointer(turn),
                    "|",
                    pointer(notes),
                    "|",
                    pointer(plan),
                )
            ]
        )
    )

    (sent,) = client.provider_calls()
    joined = ["鶴", '{"name":"~x"}', "3", 'a "string"\n', '"not JSON"', json.dumps(PLAN)]
    assert sent["prompt"] == f"{client.word} {'|'.join(joined)}"


async def test_the_system_prompt_may_be_pointed_to(client: GatewayClient) -> None:
    plan = await client.files.write(json.dumps(PLAN).encode())
    system = [generation_pb2.Part(text="About "), generation_pb2.Part(pointer=pointer(plan, "/n"))]

    await client.generate(client.spec(system=system, messages=[message(client, "Hello.")]))

    (sent,) = client.provider_calls()
    assert sent["prompt"] == f"About 3\n\n{client.word} Hello."


async def test_a_large_file_is_streamed_and_verified(client: GatewayClient) -> None:
    text = "crane " * 800_000
    large = await client.files.upload(json.dumps({"text": text}).encode())

    await client.generate(client.spec(messages=[message(client, pointer(large, "/text"))]))

    (sent,) = client.provider_calls()
    assert sent["prompt"] == f"{client.word} {text}"


async def test_another_digest_than_the_files_sends_nothing(client: GatewayClient) -> None:
    plan = await client.files.write(json.dumps(PLAN).encode())
    wrong = artifact_pb2.ArtifactPointer(path=plan.path, digest=hashlib.sha256(b"").hexdigest())

    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(messages=[message(client, wrong)]))

    assert refused.value.reason == "INPUT_INVALID"
    assert refused.value.metadata["path"] == plan.path
    assert client.provider_calls() == []


async def test_a_file_that_comes_with_the_request_need_not_be_read(client: GatewayClient) -> None:
    body = json.dumps(PLAN).encode()
    plan = unread(client, body)
    parts = (pointer(plan, "/title"), "|", pointer(plan, "/n"))
    spec = client.spec(messages=[message(client, *parts)])

    first = await client.generate(spec, files=[b"another", body])
    again = await client.generate(spec)

    (sent,) = client.provider_calls()
    assert sent["prompt"] == f"{client.word} 鶴|3"
    assert (first.replayed, again.replayed) == (False, True)


async def test_what_comes_with_a_request_counts_only_by_its_digest(client: GatewayClient) -> None:
    spec = client.spec(messages=[message(client, pointer(unread(client, b'"cranes"')))])

    with pytest.raises(Refused) as refused:
        await client.generate(spec, files=[b'"storks"'])

    assert refused.value.reason == "INPUT_INVALID"
    assert client.provider_calls() == []


async def test_people_give_no_files_with_a_request(client: GatewayClient) -> None:
    person = await client.as_person("generations.write calls.read")
    body = b'"cranes"'
    spec = person.spec(
        messages=[message(person, pointer(unread(client, body)))],
        step="input",
        model=by_id("claude-sonnet-5-5"),
    )

    with pytest.raises(Refused) as refused:
        await person.generate(spec, files=[body])

    assert refused.value.reason == "INPUT_INVALID"
    assert client.provider_calls() == []


def unread(client: GatewayClient, body: bytes) -> artifact_pb2.Artifact:
    """Name a file of the run that is not there: whoever reads it fails."""
    path = f"storage/{client.tenant_id}/{client.run_id}/outline/artifacts/unread.json"
    return artifact_pb2.Artifact(path=path, digest=hashlib.sha256(body).hexdigest())


async def test_a_file_that_is_not_there_sends_nothing(client: GatewayClient) -> None:
    plan = await client.files.write(json.dumps(PLAN).encode())
    gone = artifact_pb2.ArtifactPointer(
        path=plan.path.replace("output.json", "artifacts/gone.json"), digest=plan.digest
    )

    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(messages=[message(client, gone)]))

    assert refused.value.reason == "INPUT_INVALID"
    assert client.provider_calls() == []


@pytest.mark.parametrize("path", ["/sections/2", "/sections/-", "/sections/01", "/nothing"])
async def test_a_value_that_is_not_there_sends_nothing(client: GatewayClient, path: str) -> None:
    plan = await client.files.write(json.dumps(PLAN).encode())

    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(messages=[message(client, pointer(plan, path))]))

    assert refused.value.reason == "INPUT_INVALID"
    assert refused.value.metadata["json_pointer"] == path
    assert client.provider_calls() == []


async def test_a_file_of_another_tenant_is_not_read(client: GatewayClient) -> None:
    plan = await client.files.write(json.dumps(PLAN).encode())
    theirs = artifact_pb2.ArtifactPointer(
        path=plan.path.replace("/acme/", "/globex/"), digest=plan.digest
    )

    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(messages=[message(client, theirs)]))

    assert refused.value.reason == "INPUT_INVALID"
    assert client.provider_calls() == []


async def test_more_than_32_mebibytes_are_refused(client: GatewayClient) -> None:
    large = await client.files.upload(b'"' + b"x" * (20 << 20) + b'"')
    other = await client.files.upload(b'"' + b"y" * (20 << 20) + b'"', step="review")

    with pytest.raises(Refused) as refused:
        await client.generate(
            client.spec(messages=[message(client, pointer(large), pointer(other))])
        )

    assert refused.value.reason == "REQUEST_TOO_LARGE"
    assert refused.value.metadata["limit_bytes"] == str(32 << 20)
    assert client.provider_calls() == []


async def test_one_file_in_many_parts_counts_each_time(client: GatewayClient) -> None:
    large = await client.files.upload(b'"' + b"x" * (5 << 20) + b'"')

    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(messages=[message(client, *[pointer(large)] * 7)]))

    assert refused.value.reason == "REQUEST_TOO_LARGE"
    assert client.provider_calls() == []


@pytest.mark.parametrize("empty", ["", " \n", "\u200b\u3000", None, [], {}], ids=repr)
async def test_a_turn_that_says_nothing_is_refused_and_nothing_is_sent(
    client: GatewayClient, empty: object
) -> None:
    file = await client.files.write(json.dumps({"topic": empty}).encode())
    part = generation_pb2.Part(pointer=pointer(file, "/topic"))
    space = generation_pb2.Part(text=" \n")
    turn = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=[space, part])

    refused = await client.generate_refused(client.spec(messages=[message(client), turn]))

    assert refused.reason == "PROMPT_BLANK"
    assert refused.metadata.items() >= {"turn": "2", "json_pointer": "/topic"}.items()
    assert client.provider_calls() == []
    assert (
        await client.database.fetchval(
            "SELECT count(*) FROM llm_calls WHERE run_id = $1::text::uuid", client.run_id
        )
        == 0
    )


async def test_an_empty_value_beside_words_and_a_blank_system_prompt_are_sent(
    client: GatewayClient,
) -> None:
    file = await client.files.write(json.dumps({"topic": ""}).encode())
    blank = [generation_pb2.Part(text=" \n")]

    await client.generate(
        client.spec(system=blank, messages=[message(client, pointer(file, "/topic"))])
    )

    (sent,) = client.provider_calls()
    assert sent["prompt"] == f"{client.word} "
