"""The command against the whole stack, as a script uses it."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import EXAMPLE
from tests.e2e.shell import Shell, open_shell

if TYPE_CHECKING:
    from tests.support.stack import LocalStack


@pytest.fixture
def shell(stack: LocalStack) -> Shell:
    return open_shell(stack)


@pytest.fixture(scope="module")
def article(stack: LocalStack) -> Shell:
    """A tenant with the example's prompts and pipeline, made as its README says."""
    shell = open_shell(stack)
    for prompt in sorted((EXAMPLE / "prompts").glob("*.md")):
        made = shell.run("prompt", "create", prompt.stem, "--file", str(prompt), "--activate")
        assert made.status == 0, made.err
    made = shell.run("pipeline", "create", str(EXAMPLE / "pipeline.yaml"))
    assert made.status == 0, made.err
    return shell


def test_a_run_is_started_and_watched_and_its_result_read(article: Shell) -> None:
    brief = str(EXAMPLE / "briefs" / "heat-pumps.json")

    watched = article.run("run", "start", "article", "--input", brief, "--wait")

    assert watched.status == 0, watched.err
    assert [int(line["sequence"]) for line in watched.lines] == list(
        range(1, len(watched.lines) + 1)
    )
    last = watched.lines[-1]["run"]
    assert last["state"] == "RUN_STATE_COMPLETED"

    listed = article.run("artifact", "list", last["runId"], "--step", "polish", "-o", "jsonl")
    (output,) = [line for line in listed.lines if line["name"] == "output.json"]
    printed = article.run("artifact", "cat", output["path"])
    assert hashlib.sha256(printed.out.encode()).hexdigest() == output["digest"]
    assert article.run("artifact", "verify", "--run", last["runId"]).status == 0

    spent = article.run("call", "list", "--run", last["runId"], "-o", "jsonl")
    assert sum(int(call["costMicroUsd"]) for call in spent.lines) == int(
        last["totals"]["costMicroUsd"]
    )


def test_a_watch_that_is_taken_up_later_brings_the_rest(article: Shell) -> None:
    brief = str(EXAMPLE / "briefs" / "machiya.json")
    started = article.run("run", "start", "article", "-i", brief, "-o", "jsonl")
    run_id = started.lines[0]["runId"]

    whole = article.run("run", "watch", run_id)
    rest = article.run("run", "watch", run_id, "--after", "5")

    assert whole.status == rest.status == 0
    assert rest.lines == whole.lines[5:]


def test_an_input_over_the_inline_limit_is_uploaded(article: Shell) -> None:
    brief = json.loads((EXAMPLE / "briefs" / "heat-pumps.json").read_text())
    brief["attachment"] = "x" * 70_000
    started = article.run(
        "run", "start", "article", "--input", "-", "--wait", "-o", "json", given=json.dumps(brief)
    )
    assert started.status == 0, started.err
    run = json.loads(started.out)["run"]
    kept = article.run("artifact", "cat", run["input"]["outputPath"])
    assert json.loads(kept.out) == brief


def test_a_run_whose_input_does_not_arrive_waits_only_for_who_can_repeat_it(shell: Shell) -> None:
    pipeline = "pipeline: large\nsteps: [{step: a, function: {function: constant}}]\n"
    file = shell.stack.layout.root / "large.yaml"
    file.write_text(pipeline)
    assert shell.run("pipeline", "create", str(file)).status == 0
    start = ("run", "start", "large", "--input", "-")
    nowhere = ("--address", "artifacts=127.0.0.1:1")
    given = json.dumps("x" * 70_000)

    assert shell.run(*start, *nowhere, given=given).status == 6
    (left,) = shell.run("run", "list", "-o", "jsonl").lines
    assert left["state"] == "RUN_STATE_CANCELLED"

    again = (*start, "--request-id", "mine")
    assert shell.run(*again, *nowhere, given=given).status == 6
    done = shell.run(*again, "--wait", given=given)
    assert done.status == 0, done.err


def test_a_pipelines_faults_have_the_lines_of_its_file(article: Shell, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text((EXAMPLE / "pipeline.yaml").read_text().replace("[input, draft]", "[dratf]"))
    line = file.read_text().splitlines().index("    needs: [dratf]") + 1

    refused = article.run("pipeline", "validate", str(file))

    assert refused.status == 2
    assert f"{file}:{line}: steps[3].needs[0]: there is no step dratf" in refused.err
    assert "did you mean" in refused.err


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("run", "get", str(uuid.uuid4())), 3, "ERROR_REASON_RUN_NOT_FOUND"),
        (("run", "list", "--limit", "1", "--timeout", "0.000001"), 6, "DEADLINE_EXCEEDED"),
        (("tenant", "create", "acme-", "--name", "x"), 2, "ERROR_REASON_REQUEST_INVALID"),
        (("model", "set-default", "draft", "nobody", "pro"), 3, "ERROR_REASON_PROVIDER_NOT_FOUND"),
        (("model", "resolve", "unheard-of"), 5, "ERROR_REASON_MODEL_UNRESOLVED"),
    ],
)
def test_refusals_end_with_the_promised_code(
    article: Shell, arguments: tuple[str, ...], status: int, reason: str
) -> None:
    refused = article.run(*arguments)
    assert (refused.status, refused.out) == (status, "")
    assert f"reason: {reason}\n" in refused.err
    assert "request id: " in refused.err


def test_a_token_is_for_a_tenant_that_there_is(shell: Shell) -> None:
    issued = shell.run("dev", "token", shell.tenant)
    assert issued.status == 0, issued.err
    assert Path(issued.out.strip()).read_text().count(".") == 2

    refused = shell.run("dev", "token", "nosuch")

    assert (refused.status, refused.out) == (3, "")
    assert refused.err == (
        "error: there is no tenant nosuch\n"
        "hint: `nagaya tenant list` shows those that there are; "
        "`nagaya tenant create nosuch` creates it.\n"
    )
    assert not Path(issued.out.strip()).with_name("nosuch.jwt").exists()


def test_the_auditor_finds_the_temporal_of_the_stack(shell: Shell) -> None:
    audited = shell.run("dev", "auditor")

    assert (audited.status, audited.err) == (0, "")
    assert re.fullmatch(r"\d+ histories, 0 findings\n", audited.out)


def test_a_server_of_another_kind_is_named(shell: Shell) -> None:
    address = shell.stack.endpoints.s3_endpoint.removeprefix("http://")

    refused = shell.run("tenant", "list", "--address", address)

    assert (refused.status, refused.out) == (6, "")
    assert f"error: {address} is no Nagaya: it answers with HTTP status 400\n" in refused.err


def test_an_id_of_a_wrong_form_is_explained_in_words(shell: Shell) -> None:
    refused = shell.run("tenant", "create", "Bad Id")
    assert refused.status == 2
    assert "error: tenant_id: must be 3 to 40 lower-case letters, digits" in refused.err
    assert "regex" not in refused.err


def test_another_tenants_token_is_denied(article: Shell) -> None:
    article.run("tenant", "create", "somebody-else")
    issued = article.run("dev", "token", "somebody-else")
    token = {"NAGAYA_TOKEN_FILE": issued.out.strip()}

    refused = article.run("run", "list", settings=token)
    nobody = article.run("run", "list", "--tenant", "there-is-none", settings=token)

    assert refused.status == nobody.status == 4
    assert refused.err.splitlines()[:2] == nobody.err.splitlines()[:2]


def test_a_suspended_tenant_is_closed_until_it_is_resumed(shell: Shell) -> None:
    assert shell.run("run", "list").status == 0
    assert shell.run("tenant", "suspend", shell.tenant).status == 0
    assert shell.run("run", "list").status == 5
    assert shell.run("tenant", "resume", shell.tenant).status == 0
    assert shell.run("run", "list").status == 0


def test_an_override_is_set_seen_and_removed(shell: Shell) -> None:
    def rule() -> str:
        resolved = shell.run("model", "resolve", "draft", "-o", "json")
        return json.loads(resolved.out)["resolution"]["rule"]

    assert rule() == "RESOLUTION_RULE_STEP_DEFAULT"
    assert shell.run("model", "set-override", "draft", "openai", "pro").status == 0
    assert "draft" in shell.run("model", "overrides", "--no-headers").out
    assert rule() == "RESOLUTION_RULE_TENANT_OVERRIDE"
    assert shell.run("model", "delete-override", "draft").status == 0
    assert rule() == "RESOLUTION_RULE_STEP_DEFAULT"
