"""Whoever follows a page of the documentation to the letter gets what it says."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.e2e.article import EXAMPLE, load_article
from tests.e2e.shell import open_shell
from tests.support.pages import blocks, follow
from tests.support.public_api import create_tenant

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@pytest.fixture
def folder(stack: LocalStack) -> Path:
    folder = stack.layout.root / f"page-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    return folder


@pytest.mark.timeout(300)
def test_the_first_pipeline_runs_is_read_and_is_forked(folder: Path) -> None:
    tenant = f"acme-{folder.name}"

    said = follow("docs/howto/first-pipeline.md", folder, {"acme": tenant})

    assert f"storage/{tenant}/" in said


@pytest.mark.timeout(300)
def test_the_tutorial_ends_in_a_published_announcement(folder: Path) -> None:
    tenant = f"shop-{folder.name}"

    said = follow("docs/tutorial.md", folder, {"shop": tenant})

    assert '{"draft":"' in said
    assert (folder / "run.html").stat().st_size > 0


def test_every_pipeline_of_the_cookbook_can_be_applied(stack: LocalStack, folder: Path) -> None:
    shell, refused, applied = open_shell(stack), {}, 0

    for block in blocks("docs/cookbook.md", {}):
        if block.file is not None:
            applied += 1
            _write_pipeline(folder / block.file, block.text)
            done = shell.run("pipeline", "apply", str(folder / block.file))
            if done.status:
                refused[block.file] = done.err

    assert applied >= 5
    assert refused == {}


async def test_the_sample_of_the_python_client_runs(
    stack: LocalStack, client: Client, folder: Path
) -> None:
    tenant_id = await create_tenant(client, "sample")
    await load_article(client, tenant_id)
    (sample,) = (
        block
        for block in blocks("clients/python/README.md", {"acme": tenant_id})
        if block.language == "python"
    )
    (folder / "sample.py").write_text(sample.text)
    (folder / "examples").symlink_to(EXAMPLE.parent)

    process = await asyncio.create_subprocess_exec(sys.executable, "sample.py", cwd=folder)

    assert await process.wait() == 0
    assert json.loads((folder / "article.json").read_text())


def _write_pipeline(folder: Path, text: str) -> None:
    """Write a pipeline and, for each of its prompts, one that names the variables bound to it."""
    (folder / "prompts").mkdir(parents=True)
    (folder / "pipeline.yaml").write_text(text)
    for step in yaml.safe_load(text)["steps"]:
        if "llm" in step:
            variables = [one["variable"] for one in step["llm"]["bindings"]]
            file = folder / "prompts" / f"{step['llm'].get('prompt', step['step'])}.md"
            file.write_text("\n".join(f"{{{{{name}}}}}" for name in variables))
