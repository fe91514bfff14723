"""Numbers keep their digits from a person's file to the file of the last step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from grpc import StatusCode
from tests.e2e.shell import Shell, open_shell
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish, list_steps

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

NUMBERS = {
    "id": "3544790567247868102",
    "odd": "9007199254740993",
    "long": "12345678901234567890123",
    "price": "19.90",
    "power": "1E2",
    "nought": "-0",
    "one": "1.0",
}
OBJECT = "{" + ",".join(f'"{name}":{digits}' for name, digits in sorted(NUMBERS.items())) + "}"
SPACIOUS = "{\n" + ",\n".join(f' "{name}" : {digits}' for name, digits in NUMBERS.items()) + "\n}"

PIPELINE = f"""
pipeline: digits
steps:
  - step: given
    needs: [input]
    function: {{function: collect}}
  - step: fixed
    function: {{function: constant, arguments: {{value: {OBJECT.replace(":", ": ")}}}}}
  - step: ask
    llm:
      model: {{model_id: gpt-6.2-sol}}
      output_schema: {{type: object, required: [id], additionalProperties: false,
                      properties: {{id: {{const: {NUMBERS["id"]}}}, list: {{enum: [[19.90]]}}}}}}
  - step: last
    needs: [given, fixed, ask]
    function: {{function: collect, short: true}}
"""


@pytest.fixture(scope="module")
def shell(stack: LocalStack) -> Shell:
    shell = open_shell(stack)
    prompt = shell.run("prompt", "create", "ask", "--activate", given="Which id?")
    assert prompt.status == 0, prompt.err
    file = stack.layout.root / "digits.yaml"
    file.write_text(PIPELINE)
    made = shell.run("pipeline", "create", str(file))
    assert made.status == 0, made.err
    return shell


@pytest.mark.parametrize("pad", [0, 70_000], ids=["inline", "uploaded"])
def test_numbers_keep_their_digits_from_the_input_to_the_last_step(
    shell: Shell, tmp_path: Path, pad: int
) -> None:
    given, config = tmp_path / "input.json", tmp_path / "config.json"
    given.write_text(SPACIOUS[:-1] + f', "~": "{"x" * pad}"}}')
    config.write_text(SPACIOUS)

    started = shell.run(
        "run", "start", "digits", "--input", str(given), "--config", str(config), "--wait",
        "-o", "json",
    )  # fmt: skip
    assert started.status == 0, started.err
    run = json.loads(started.out)["run"]
    whole = OBJECT[:-1] + f',"~":"{"x" * pad}"}}'

    def cat(step: str) -> str:
        path = f"storage/{shell.tenant}/{run['runId']}/{step}/output.json"
        return shell.run("artifact", "cat", path).out

    if pad == 0:  # a file that is uploaded keeps the order of its members
        assert cat("input") == whole
    assert all(f'"{name}":{digits}' in cat("input") for name, digits in NUMBERS.items())
    assert cat("given") == f'{{"input":{whole}}}'
    assert cat("fixed") == OBJECT
    assert json.loads(cat("ask"))["id"] == int(NUMBERS["id"])
    fixed, given_output, asked = cat("fixed"), cat("given"), cat("ask")
    assert cat("last") == f'{{"ask":{asked},"fixed":{fixed},"given":{given_output}}}'

    assert run["configJson"] == OBJECT
    shown = shell.run("run", "get", run["runId"]).out
    assert f"config_json {OBJECT}" in " ".join(shown.split("\n")) or OBJECT in shown


def test_a_pipeline_is_shown_with_its_digits(shell: Shell) -> None:
    shown = shell.run("pipeline", "get", "digits").out

    for name, digits in NUMBERS.items():
        assert f"{name}: {digits}\n" in shown, shown


async def test_a_value_copied_out_of_another_runs_file_keeps_its_digits(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_tenant(client, "digits")
    collect = {"step": "collect", "needs": ["input"], "function": {"function": "collect"}}
    await create_pipeline(client, tenant_id, "collect", {"steps": [collect]})
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id="1", pipeline="collect", inline_json=f"[0,{SPACIOUS}]"
    )
    first = (await client.runs.CreateRun(request)).run.run_id
    source = (await finish(client, tenant_id, first)).input

    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id,
        request_id="2",
        pipeline="collect",
        pointer=artifact_pb2.ArtifactPointer(
            path=source.output_path, digest=source.output_digest, json_pointer="/1"
        ),
    )
    second = (await client.runs.CreateRun(request)).run.run_id
    copied = (await finish(client, tenant_id, second)).input

    assert stack.file(copied.output_path).read_text() == OBJECT
    (step,) = await list_steps(client, tenant_id, second)
    assert stack.file(step.output.output_path).read_text() == f'{{"input":{OBJECT}}}'


@pytest.mark.parametrize(
    ("text", "why"),
    [("[NaN]", "NaN is no number of JSON"), ('{"a":1,"a":2}', "two members of the same name"),
     ("1e400", "a number is larger than any"), ('"\\ud83d"', "half of a surrogate pair"),
     ("{", "it is not valid JSON at line 1, column 2")],
)  # fmt: skip
async def test_what_is_no_json_is_reported_with_its_field(
    client: Client, text: str, why: str
) -> None:
    tenant_id = await create_tenant(client, "digits")
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id="1", pipeline="none", inline_json=text
    )
    with pytest.raises(ApiError) as refused:
        await client.runs.CreateRun(request)

    assert refused.value.code is StatusCode.INVALID_ARGUMENT
    ((field, description),) = [(each.field, each.description) for each in refused.value.violations]
    assert field == "inline_json"
    assert why in description


@pytest.mark.parametrize(
    ("score", "condition", "state"),
    [
        (7.6, "review.score < 8", run_pb2.STEP_STATE_COMPLETED),
        (7.4, "review.score < 8", run_pb2.STEP_STATE_COMPLETED),
        (0.4, "review.score < 0.5", run_pb2.STEP_STATE_COMPLETED),
        (0.6, "review.score < 0.5", run_pb2.STEP_STATE_SKIPPED),
        (1e30, "review.score < 8", run_pb2.STEP_STATE_SKIPPED),
        (1, "input.bytes > 1", run_pb2.STEP_STATE_COMPLETED),
    ],
)
async def test_a_condition_compares_what_a_step_has_put_out(
    client: Client, score: float, condition: str, state: run_pb2.StepState.ValueType
) -> None:
    tenant_id = await create_tenant(client, "metrics")
    constant = {"function": "constant", "arguments": {"value": {"s": score}}}
    review = {"step": "review", "function": constant, "metrics": {"score": "/s"}}
    again = {"step": "again", "needs": ["review"], "function": {"function": "collect"}}
    await create_pipeline(client, tenant_id, "m", {"steps": [review, {**again, "when": condition}]})
    run_id = await create_run(client, tenant_id, "m", "given")
    await finish(client, tenant_id, run_id)

    first, second = await list_steps(client, tenant_id, run_id)
    assert second.state == state
    file = artifact_service_pb2.GetArtifactRequest(
        tenant_id=tenant_id, path=first.output.output_path
    )
    kept = (await client.artifacts.GetArtifact(file)).artifact
    for metrics, fractions in (
        (first.output.metrics, first.output.fractional_metrics),
        (kept.metrics, kept.fractional_metrics),
    ):
        assert {**metrics, **fractions}["score"] == score
        assert metrics.get("score", 0) == (round(score) if score < 1e18 else 0)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
async def test_what_no_number_of_json_is_becomes_no_output(
    stack: LocalStack, client: Client, value: str, *, short: bool
) -> None:
    tenant_id = await create_tenant(client, "nan")
    function = {"function": "test.number", "arguments": {"value": value}, "short": short}
    number = {"step": "number", "function": function, "metrics": {"score": "/score"}}
    after = {"step": "after", "needs": ["number"], "function": {"function": "collect"}}
    await create_pipeline(client, tenant_id, "nan", {"steps": [number, after]})
    run_id = await create_run(client, tenant_id, "nan", "given")
    run = await finish(client, tenant_id, run_id)

    assert (run.error.step, run.error.reason) == ("number", "OUTPUT_NOT_JSON")
    (step,) = await list_steps(client, tenant_id, run_id)
    assert (step.state, step.retry_count) == (run_pb2.STEP_STATE_FAILED, 0)
    assert not stack.file(f"storage/{tenant_id}/{run_id}/number/output.json").exists()
