"""The article pipeline of examples/, as tests use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.public_api import create_pipeline, create_prompt

if TYPE_CHECKING:
    from nagaya_client.client import Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "article"
PIPELINE = "article"


async def load_article(client: Client, tenant_id: str, *, remark: str = "") -> None:
    """Give a tenant the article's prompts and pipeline; `remark` is added to each prompt."""
    for path in sorted((EXAMPLE / "prompts").glob("*.md")):
        await create_prompt(client, tenant_id, path.stem, path.read_text() + remark)
    spec = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())
    name = spec.pop("pipeline")
    await create_pipeline(client, tenant_id, name, spec)


def brief(name: str = "heat-pumps") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXAMPLE / "briefs" / f"{name}.json").read_text())
    return loaded
