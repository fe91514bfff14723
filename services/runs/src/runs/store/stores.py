"""All tables of the service."""

from __future__ import annotations

from dataclasses import dataclass, field

from runs.store.events import EventStore
from runs.store.open_runs import OpenRunStore
from runs.store.outbox import OutboxStore
from runs.store.pending_work import PendingWorkStore
from runs.store.pipelines import PipelineStore
from runs.store.prompts import PromptStore
from runs.store.runs import RunStore
from runs.store.transitions import RunTransitions
from runs.store.usage import UsageStore


@dataclass(frozen=True, slots=True)
class Stores:
    """What a statement needs comes with each call, so one of each is enough for a process."""

    prompts: PromptStore = field(default_factory=PromptStore)
    pipelines: PipelineStore = field(default_factory=PipelineStore)
    runs: RunStore = field(default_factory=RunStore)
    transitions: RunTransitions = field(default_factory=RunTransitions)
    open_runs: OpenRunStore = field(default_factory=OpenRunStore)
    events: EventStore = field(default_factory=EventStore)
    outbox: OutboxStore = field(default_factory=OutboxStore)
    usage: UsageStore = field(default_factory=UsageStore)
    pending_work: PendingWorkStore = field(default_factory=PendingWorkStore)
