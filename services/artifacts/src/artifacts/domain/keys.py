"""Paths and object names of files: the only module that builds or parses them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from artifacts.errors import NameInvalid, PathInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

_TENANT = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")
_STEP = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NAME = re.compile(r"output\.json|artifacts(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,7}")
_NAME_LIMIT = 512


@dataclass(frozen=True, slots=True)
class ArtifactKey:
    """The identity of a file. Only BucketLayout constructs it, so its parts are well formed."""

    tenant_id: str
    run_id: UUID
    step: str
    name: str
    object_name: str
    """The name (S3 key) of its object in the bucket: `{tenant_id}/{run_id}/{step}/{name}`."""
    path: str
    """What callers know it by: the same, with the tenant's prefix of paths before the run."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The paths of its parent folders below its step; none of them can be a file."""
        parts = self.name.split("/")
        base = self.path.removesuffix(self.name)
        return tuple(base + "/".join(parts[:depth]) for depth in range(2, len(parts)))


class BucketLayout:
    """The paths of files, `{prefix}/{run_id}/{step}/{name}`, and where their objects lie.

    A tenant keeps its prefix wherever its files are brought: `prefix_of` returns it. Where that is
    empty, it is `{bucket}/{tenant_id}`.
    """

    def __init__(self, bucket: str, prefix_of: Callable[[str], str] = lambda _: "") -> None:
        self._bucket = bucket
        self._prefix_of = prefix_of
        self.folds_case = False
        """Whether the store ignores case in names, as some file systems do."""

    def key(self, tenant_id: str, run_id: str, step: str, name: str) -> ArtifactKey:
        """Build a key from its parts. Raises NameInvalid."""
        found = self._build(tenant_id, run_id, step, name)
        if found is None:
            raise NameInvalid(name, "it is not output.json nor artifacts/ and a few plain segments")
        if self.folds_case and name != name.lower():
            raise NameInvalid(name, "this object store takes upper and lower case for one")
        return found

    def parse(self, tenant_id: str, path: str) -> ArtifactKey:
        """Parse a path of this tenant. Raises PathInvalid, for another tenant's path too."""
        prefix = self.prefix(tenant_id) + "/"
        parts = path.removeprefix(prefix).split("/", 2)
        found = self._build(tenant_id, *parts) if len(parts) == 3 else None
        if found is None or found.path != path:
            raise PathInvalid(path)
        return found

    def parse_object(self, tenant_id: str, object_name: str) -> ArtifactKey:
        """Parse the name of an object of this tenant. Raises PathInvalid."""
        rest = object_name.removeprefix(f"{tenant_id}/")
        return self.parse(tenant_id, f"{self.prefix(tenant_id)}/{rest}")

    def prefix(self, tenant_id: str) -> str:
        """Return what the paths of a tenant's files begin with, without the `/` behind it."""
        return self._prefix_of(tenant_id) or f"{self._bucket}/{tenant_id}"

    def folder(self, tenant_id: str, run_id: str, step: str = "") -> str:
        """Return the common prefix of the paths of a run, or of one of its steps."""
        run = f"{self.prefix(tenant_id)}/{UUID(run_id)}/"
        return f"{run}{step}/" if step else run

    def _build(self, tenant_id: str, run_id: str, step: str, name: str) -> ArtifactKey | None:
        try:
            run = UUID(run_id)
        except ValueError:
            return None
        named = len(name) <= _NAME_LIMIT and _NAME.fullmatch(name)
        if not named or not _TENANT.fullmatch(tenant_id) or not _STEP.fullmatch(step):
            return None
        place = f"{run}/{step}/{name}"
        path = f"{self.prefix(tenant_id)}/{place}"
        return ArtifactKey(tenant_id, run, step, name, f"{tenant_id}/{place}", path)
