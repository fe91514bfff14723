"""The demo's customers, and the files of its example."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya.llm_gateway.v1 import model_pb2

if TYPE_CHECKING:
    from pathlib import Path

PIPELINE = "article"


@dataclass(frozen=True, slots=True)
class Customer:
    """A tenant of the demo."""

    tenant_id: str
    name: str
    brief: str
    """The file of its run's input."""
    overrides: tuple[model_pb2.TenantStepOverride, ...] = ()


CUSTOMERS = (
    Customer("acme", "Acme Publishing", "heat-pumps.json"),
    Customer(
        "globex",
        "Globex Media",
        "machiya.json",
        (
            model_pb2.TenantStepOverride(
                step="draft",
                model_class=model_pb2.ModelClass(provider_id="gemini", model_class="pro"),
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Example:
    """The files of `examples/article/`."""

    folder: Path

    @property
    def pipeline(self) -> Path:
        return self.folder / "pipeline.yaml"

    def prompts(self) -> dict[str, str]:
        """The prompts by step."""
        files = sorted((self.folder / "prompts").glob("*.md"))
        return {file.stem: file.read_text(encoding="utf-8") for file in files}

    def brief(self, name: str) -> str:
        return (self.folder / "briefs" / name).read_text(encoding="utf-8")


def request_id(*content: str | bytes) -> str:
    """A request id made of the content: the same request again is answered as the first was."""
    whole = hashlib.sha256()
    for part in content:
        raw = part.encode() if isinstance(part, str) else part
        whole.update(len(raw).to_bytes(8))
        whole.update(raw)
    return f"demo-{whole.hexdigest()[:40]}"
