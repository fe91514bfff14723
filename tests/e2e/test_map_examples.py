"""The pipelines of examples/maps, at their full size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_tenant,
    finish,
)

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.pipeline_file import read_pipeline
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

EXAMPLES = Path(__file__).parents[2] / "examples" / "maps"


async def run_example(
    stack: LocalStack, client: Client, name: str, given: object, tmp_path: Path
) -> tuple[run_pb2.Run, dict[str, list[tuple[int, str]]], Path]:
    """Run an example to its end; return the run, its rows by step, and its folder."""
    tenant_id = await create_tenant(client, name)
    for prompt in (EXAMPLES / name / "prompts").glob("*.md"):
        await create_prompt(client, tenant_id, prompt.stem, prompt.read_text())
    file = read_pipeline(EXAMPLES / name / "pipeline.yaml")
    await create_pipeline(client, tenant_id, name, MessageToDict(file.spec))
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=name, pipeline=name, hold=True
    )
    run_id = (await client.runs.CreateRun(request)).run.run_id
    source = tmp_path / "input.json"
    source.write_text(json.dumps(given))
    await client.upload(tenant_id, UploadTarget(run_id, "input"), source)
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))
    run = await finish(client, tenant_id, run_id)
    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    database = await stack.database(client, tenant_id)
    found = await database.fetch("SELECT step, item, status FROM steps ORDER BY step, item")
    await database.close()
    rows: dict[str, list[tuple[int, str]]] = {}
    for row in found:
        rows.setdefault(row["step"], []).append((row["item"], row["status"]))
    return run, rows, stack.file(f"storage/{tenant_id}/{run.run_id}")


async def test_a_book_is_20_chapters_of_20_sections_each(
    stack: LocalStack, client: Client, tmp_path: Path
) -> None:
    chapters = [{"title": f"Chapter {number}", "sections": 20} for number in range(1, 21)]
    run, rows, _ = await run_example(stack, client, "book", {"chapters": chapters}, tmp_path)

    done = {
        step: [item for item, status in of if status == "completed"] for step, of in rows.items()
    }
    assert done == {
        "outline": [*range(21)],
        "section": [*range(401)],
        "chapter": [*range(21)],
        "blurb": [0],
    }
    assert stack.requests_of(run.run_id) == 20 + 400 + 20 + 1


async def test_a_survey_of_2000_answers_is_filtered_and_reduced(
    stack: LocalStack, client: Client, tmp_path: Path
) -> None:
    kinds = ["praise", "complaint", "question", "other"]
    answers = [
        {
            "kind": kinds[number % 4],
            "stars": 4 if number % 20 in (1, 5) else 1 + number % 2,
            "urgent": number % 400 == 9,
            "text": f"answer {number}",
        }
        for number in range(2_000)
    ]
    complaints = [
        number
        for number, answer in enumerate(answers, 1)
        if answer["kind"] == "complaint" and int(str(answer["stars"])) < 3
    ]
    urgent = [number for number in complaints if answers[number - 1]["urgent"]]
    run, rows, folder = await run_example(stack, client, "survey", {"answers": answers}, tmp_path)

    assert len(complaints) == 300
    assert [item for item, _ in rows["answer"]] == [*range(2_001)]
    for step, expected in (("complaint", complaints), ("reply", urgent)):
        done = [item for item, status in rows[step] if item and status == "completed"]
        assert done == expected, step
        assert {status for item, status in rows[step] if item not in (0, *expected)} == {"skipped"}
    manifest = json.loads((folder / "complaint" / "output.json").read_text())
    assert len(manifest["items"]) == 300
    result = json.loads((folder / "result" / "output.json").read_text())
    assert (result.keys(), len(result["reply"])) == ({"letter", "reply"}, len(urgent))
    assert stack.requests_of(run.run_id) == 1 + len(urgent)


async def test_each_letter_of_a_mailbox_goes_the_way_of_its_kind(
    stack: LocalStack, client: Client, tmp_path: Path
) -> None:
    letters = [f"letter {number}" for number in range(1, 21)]
    _, rows, folder = await run_example(stack, client, "mailbox", {"letters": letters}, tmp_path)

    manifest = json.loads((folder / "classify" / "output.json").read_text())
    facts = {one["item"]: one["values"] | one["metrics"] for one in manifest["items"]}
    expected = {
        "book": {n for n, f in facts.items() if f["kind"] == "invoice" and f["amount"] > 0},
        "answer": {n for n, f in facts.items() if f["kind"] == "complaint" or f["urgent"]},
        "note": set(facts),
    }
    done = {
        step: {item for item, status in rows[step] if item and status == "completed"}
        for step in expected
    }
    assert done == expected
    assert rows["unread"] == [(0, "skipped")]
    assert 0 < len(expected["book"]) < len(letters)
