"""Paths of the stack: everything under `var/dev` of the clone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MARK = "deploy/local/pyproject.toml"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one clone's stack."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Layout:
        """The layout of the clone that `folder` lies in; of `folder` itself if in none."""
        folder = folder.resolve()
        clones = (parent for parent in (folder, *folder.parents) if (parent / _MARK).exists())
        return cls(next(clones, folder))

    @property
    def is_ours(self) -> bool:
        """Whether the folder is a clone, or one in which a stack was started before."""
        return (self.root / _MARK).exists() or self.data.exists()

    @property
    def data(self) -> Path:
        return self.root / "var" / "dev"

    @property
    def endpoints(self) -> Path:
        return self.data / "endpoints.env"

    @property
    def pids(self) -> Path:
        return self.data / "pids.json"

    @property
    def ports(self) -> Path:
        return self.data / "ports.json"

    @property
    def providers(self) -> Path:
        return self.data / "providers.json"

    @property
    def state(self) -> Path:
        return self.data / "state.json"

    @property
    def lock(self) -> Path:
        return self.data / "supervisor.lock"

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    @property
    def anchors(self) -> Path:
        return self.data / "anchors"

    @property
    def tokens(self) -> Path:
        return self.data / "tokens"

    @property
    def token_command(self) -> Path:
        return self.data / "token-command.json"

    @property
    def postgres(self) -> Path:
        return self.data / "postgres"

    @property
    def s3(self) -> Path:
        return self.data / "s3"

    @property
    def temporal(self) -> Path:
        return self.data / "temporal"

    @property
    def llmstub(self) -> Path:
        return self.data / "llmstub"

    @property
    def envoy(self) -> Path:
        return self.data / "envoy"

    def log(self, part: str) -> Path:
        return self.data / "logs" / f"{part}.log"
