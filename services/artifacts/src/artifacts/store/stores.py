"""Every table of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifacts.store.artifacts import ArtifactStore
from artifacts.store.pending_work import PendingWorkStore
from artifacts.store.runs import RunStore
from artifacts.store.uploads import UploadStore
from artifacts.store.writes import WriteStore

if TYPE_CHECKING:
    from artifacts.domain.keys import KeySpace


class Stores:
    def __init__(self, keys: KeySpace) -> None:
        self.artifacts = ArtifactStore(keys)
        self.uploads = UploadStore(keys)
        self.writes = WriteStore()
        self.runs = RunStore()
        self.pending_work = PendingWorkStore()
