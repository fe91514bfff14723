"""A tenant is exported from one stack and imported into another one, by the commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import EXAMPLE
from tests.e2e.shell import Shell, open_shell
from tests.support.stack import LocalStack, running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BRIEF = str(EXAMPLE / "briefs" / "heat-pumps.json")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Another stack, whose bucket has another name."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with running_stack(folder, NAGAYA_BUCKET="elsewhere") as stack:
        yield stack


def made(shell: Shell, *arguments: str) -> None:
    done = shell.run(*arguments)
    assert done.status == 0, done.err


def completed(shell: Shell, *arguments: str) -> list[dict[str, object]]:
    done = shell.run(*arguments)
    assert done.status == 0, done.err
    return done.lines


@pytest.mark.timeout(600)
def test_an_imported_tenant_shows_its_runs_and_starts_new_ones_at_once(
    stack: LocalStack, elsewhere: LocalStack, tmp_path: Path
) -> None:
    here = open_shell(stack)
    for prompt in sorted((EXAMPLE / "prompts").glob("*.md")):
        made(here, "prompt", "create", prompt.stem, "--file", str(prompt), "--activate")
    made(here, "pipeline", "create", str(EXAMPLE / "pipeline.yaml"))
    old = completed(here, "run", "start", "article", "--input", BRIEF, "--wait")[-1]["run"]
    assert isinstance(old, dict)
    bundle, jwks = tmp_path / "acme.tar", str(stack.layout.keys / "jwks.json")

    exported = here.run("tenant", "export", here.tenant, "--to", str(bundle), "--drain")
    assert exported.status == 0, exported.err
    verified = here.run("bundle", "verify", str(bundle), "--jwks", jwks, "-o", "json")
    assert verified.status == 0, verified.err
    assert json.loads(verified.out)[0]["signature"] == "valid"
    there = Shell(elsewhere, here.tenant)
    refused = there.run("tenant", "import", str(bundle))
    assert refused.status != 0
    assert "BUNDLE_INVALID" in refused.err
    imported = there.run("tenant", "import", str(bundle), "--jwks", jwks)
    assert imported.status == 0, imported.err

    files = completed(here, "artifact", "list", str(old["runId"]), "-o", "jsonl", "--limit", "200")
    assert files == completed(
        there, "artifact", "list", str(old["runId"]), "-o", "jsonl", "--limit", "200"
    )
    assert there.run("artifact", "verify", "--run", str(old["runId"])).status == 0
    assert completed(here, "run", "watch", str(old["runId"])) == completed(
        there, "run", "watch", str(old["runId"])
    )
    assert completed(here, "audit", "list", "-o", "jsonl") == completed(
        there, "audit", "list", "-o", "jsonl"
    )
    assert there.run("audit", "verify").status == 0
    new = completed(there, "run", "start", "article", "--input", BRIEF, "--wait")[-1]["run"]
    assert isinstance(new, dict)
    assert new["state"] == "RUN_STATE_COMPLETED"
    (output,) = [
        file
        for file in completed(there, "artifact", "list", str(new["runId"]), "-o", "jsonl")
        if file["path"] == f"storage/{here.tenant}/{new['runId']}/polish/output.json"
    ]
    assert there.run("artifact", "cat", str(output["path"])).status == 0
