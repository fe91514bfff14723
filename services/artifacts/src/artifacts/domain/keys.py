"""Paths and object names of files: the only module that builds or parses them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from artifacts.errors import NameInvalid, PathInvalid

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
    """The name (S3 key) of its object in the bucket."""
    path: str
    """What callers know it by: the bucket, `/` and the object name."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The paths of its parent folders below its step; none of them can be a file."""
        parts = self.name.split("/")
        base = self.path.removesuffix(self.name)
        return tuple(base + "/".join(parts[:depth]) for depth in range(2, len(parts)))


class BucketLayout:
    """The paths of one bucket: `{bucket}/{tenant_id}/{run_id}/{step}/{name}`."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
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
        parts = path.split("/", 4)
        found = self._build(*parts[1:]) if len(parts) == 5 else None
        if found is None or found.path != path or found.tenant_id != tenant_id:
            raise PathInvalid(path)
        return found

    def path_of(self, object_name: str) -> str:
        """Return the path of an object."""
        return f"{self._bucket}/{object_name}"

    def folder(self, tenant_id: str, run_id: str, step: str = "") -> str:
        """Return the common prefix of the paths of a run, or of one of its steps."""
        run = f"{self._bucket}/{tenant_id}/{UUID(run_id)}/"
        return f"{run}{step}/" if step else run

    def _build(self, tenant_id: str, run_id: str, step: str, name: str) -> ArtifactKey | None:
        try:
            run = UUID(run_id)
        except ValueError:
            return None
        named = len(name) <= _NAME_LIMIT and _NAME.fullmatch(name)
        if not named or not _TENANT.fullmatch(tenant_id) or not _STEP.fullmatch(step):
            return None
        object_name = f"{tenant_id}/{run}/{step}/{name}"
        return ArtifactKey(tenant_id, run, step, name, object_name, self.path_of(object_name))
