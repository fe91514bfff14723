"""All tables of the service."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_gateway.store.attempts import AttemptStore
from llm_gateway.store.calls import CallStore
from llm_gateway.store.catalog import CatalogStore
from llm_gateway.store.overrides import OverrideStore
from llm_gateway.store.pending_work import PendingWorkStore
from llm_gateway.store.prices import PriceStore
from llm_gateway.store.replies import ReplyStore
from llm_gateway.store.snapshot import SnapshotStore
from llm_gateway.store.transitions import CallTransitions


@dataclass(frozen=True, slots=True)
class Stores:
    """What a statement needs comes with each call, so one of each is enough for a process."""

    calls: CallStore = field(default_factory=CallStore)
    transitions: CallTransitions = field(default_factory=CallTransitions)
    attempts: AttemptStore = field(default_factory=AttemptStore)
    replies: ReplyStore = field(default_factory=ReplyStore)
    catalog: CatalogStore = field(default_factory=CatalogStore)
    overrides: OverrideStore = field(default_factory=OverrideStore)
    prices: PriceStore = field(default_factory=PriceStore)
    pending_work: PendingWorkStore = field(default_factory=PendingWorkStore)
    snapshots: SnapshotStore = field(default_factory=SnapshotStore)
