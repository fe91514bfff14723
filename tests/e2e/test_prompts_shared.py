"""Two pipelines of a tenant whose steps have one name: each with its own prompt, by the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.e2e.shell import Shell, open_shell

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

PIPELINE = """
pipeline: {name}
steps:
  - step: extract
    llm:
      {prompt}
      model: {{model_id: gpt-6.2-sol}}
      max_output_tokens: 20
      bindings: [{{variable: text, output: {{step: input}}}}]
"""


@pytest.fixture
def shell(stack: LocalStack) -> Shell:
    return open_shell(stack)


def folder(parent: Path, name: str, prompt: str, template: str) -> str:
    """Write a pipeline and its prompt; the step's own name is the prompt's where none is given."""
    path = parent / name
    (path / "prompts").mkdir(parents=True)
    named = f"prompt: {prompt}" if prompt else ""
    (path / "pipeline.yaml").write_text(PIPELINE.format(name=name, prompt=named))
    (path / "prompts" / f"{prompt or 'extract'}.md").write_text(template)
    return str(path)


def version_used(shell: Shell, pipeline: str) -> tuple[int, str]:
    """Run a pipeline; return version and digest of the prompt that its step used."""
    ran = shell.run("run", "start", pipeline, "-i", "-", "--wait", "-o", "json", given='"x"')
    assert ran.status == 0, ran.err
    run_id = json.loads(ran.out)["run"]["runId"]
    (step,) = shell.run("run", "steps", run_id, "-o", "jsonl").lines
    return step["promptVersion"], step["promptDigest"]


def test_pipelines_that_name_their_prompts_do_not_change_each_other(
    shell: Shell, tmp_path: Path
) -> None:
    invoices = folder(tmp_path, "invoices", "invoices.extract", "INVOICE: {{ text }}")
    contracts = folder(tmp_path, "contracts", "", "CONTRACT: {{ text }}")
    assert shell.run("pipeline", "apply", invoices).status == 0
    before = version_used(shell, "invoices")

    assert shell.run("pipeline", "apply", contracts).status == 0

    assert version_used(shell, "invoices") == before
    assert version_used(shell, "contracts")[1] != before[1]
    assert shell.run("pipeline", "diff", contracts).out == "no difference\n"


def test_a_prompt_that_another_pipeline_uses_is_not_changed_without_a_word(
    shell: Shell, tmp_path: Path
) -> None:
    first = folder(tmp_path, "first", "", "FIRST: {{text}}")
    second = folder(tmp_path, "second", "", "SECOND: {{text}}")
    assert shell.run("pipeline", "apply", first).status == 0
    before = version_used(shell, "first")

    refused = shell.run("pipeline", "apply", second)

    assert refused.status == 5
    assert "used by other pipelines too: first" in refused.err
    assert version_used(shell, "first") == before
    assert shell.run("pipeline", "get", "second").status == 3
    differing = shell.run("pipeline", "diff", second)
    assert {"-FIRST: {{text}}", "+SECOND: {{text}}"} <= set(differing.out.splitlines())

    assert shell.run("pipeline", "apply", second, "--shared").status == 0
    activated = shell.run("prompt", "activate", "extract", "1")
    assert "first (step extract), second (step extract)" in activated.err


def test_a_prompt_is_tried_and_compared_and_no_model_is_called(
    shell: Shell, tmp_path: Path
) -> None:
    assert shell.run("pipeline", "apply", folder(tmp_path, "a", "", "A {{text}}")).status == 0
    made = shell.run("prompt", "create", "extract", given="A {{{{x}} {{ text }}")
    assert made.status == 0, made.err

    tried = shell.run("prompt", "test", "extract", "--version", "2", "--value", "text={{y}}")

    assert tried.out == "A {{x}} {{y}}\n"
    missing = shell.run("prompt", "test", "extract")
    assert (missing.status, "no value is given for text" in missing.err) == (5, True)
    compared = shell.run("prompt", "diff", "extract", "2", "1")
    assert compared.out.splitlines()[-2:] == ["-A {{{{x}} {{ text }}", "+A {{text}}"]
    assert shell.run("call", "list", "-o", "jsonl").lines == []


def test_another_tenants_prompt_cannot_be_named(stack: LocalStack, tmp_path: Path) -> None:
    theirs, ours = open_shell(stack), open_shell(stack)
    given = folder(tmp_path, "secret", "secret.plans", "{{text}}")
    assert theirs.run("pipeline", "apply", given).status == 0
    file = tmp_path / "ours.yaml"
    file.write_text(PIPELINE.format(name="ours", prompt="prompt: secret.plans"))

    refused = ours.run("pipeline", "create", str(file))

    assert refused.status == 2
    assert f"{file}:4: steps[0]: step extract: prompt secret.plans has no active version" in (
        refused.err
    )
    assert ours.run("prompt", "get", "secret.plans").status == 3
