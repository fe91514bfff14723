"""The client: a stub for each service, and operations over several calls."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

from nagaya.artifacts.v1 import (
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from nagaya.llm_gateway.v1 import (
    call_service_pb2,
    call_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    generation_service_pb2,
    generation_service_pb2_grpc,
)
from nagaya.runs.v1 import (
    approval_service_pb2,
    approval_service_pb2_grpc,
    pipeline_service_pb2,
    pipeline_service_pb2_grpc,
    prompt_service_pb2,
    prompt_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    tenant_limit_service_pb2,
    tenant_limit_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from nagaya.tenant.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    backup_service_pb2,
    backup_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
    schema_service_pb2,
    schema_service_pb2_grpc,
    secret_service_pb2,
    secret_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
    transfer_service_pb2,
    transfer_service_pb2_grpc,
)
from nagaya_client import transfer
from nagaya_client.channel import Channel
from nagaya_client.watch import watch_run
from nagaya_client.watch_text import watch_step_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path
    from types import TracebackType

    import grpc
    from google.protobuf.descriptor import FileDescriptor

    from nagaya.artifacts.v1 import artifact_pb2
    from nagaya.llm_gateway.v1 import call_pb2
    from nagaya.runs.v1 import run_pb2
    from nagaya_client.errors import ApiError
    from nagaya_client.settings import Settings

Stub = TypeVar("Stub")


class Client:
    """Everything that Nagaya serves, for as long as an `async with` block lasts.

    Calls raise ApiError, and SettingsInvalid when their service's address is not known. They end
    after what the contract allows, or `timeout` seconds; what the contract says may be repeated is
    repeated when the connection fails. A connection is opened when it is first needed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._channels: list[Channel] = []

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Return a client; nothing is sent before its first call."""
        return cls(settings)

    @cached_property
    def tenants(self) -> tenant_service_pb2_grpc.TenantServiceStub:
        stub = tenant_service_pb2_grpc.TenantServiceStub
        return self._stub("tenant", tenant_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def schema(self) -> schema_service_pb2_grpc.SchemaServiceStub:
        stub = schema_service_pb2_grpc.SchemaServiceStub
        return self._stub("tenant", schema_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def servers(self) -> server_service_pb2_grpc.ServerServiceStub:
        stub = server_service_pb2_grpc.ServerServiceStub
        return self._stub("tenant", server_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def audit(self) -> audit_service_pb2_grpc.AuditServiceStub:
        stub = audit_service_pb2_grpc.AuditServiceStub
        return self._stub("tenant", audit_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def backups(self) -> backup_service_pb2_grpc.BackupServiceStub:
        stub = backup_service_pb2_grpc.BackupServiceStub
        return self._stub("tenant", backup_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def secrets(self) -> secret_service_pb2_grpc.SecretServiceStub:
        stub = secret_service_pb2_grpc.SecretServiceStub
        return self._stub("tenant", secret_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def transfers(self) -> transfer_service_pb2_grpc.TransferServiceStub:
        stub = transfer_service_pb2_grpc.TransferServiceStub
        return self._stub("tenant", transfer_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def operations(self) -> operation_service_pb2_grpc.OperationServiceStub:
        stub = operation_service_pb2_grpc.OperationServiceStub
        return self._stub("tenant", operation_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def runs(self) -> run_service_pb2_grpc.RunServiceStub:
        stub = run_service_pb2_grpc.RunServiceStub
        return self._stub("runs", run_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def schedules(self) -> schedule_service_pb2_grpc.ScheduleServiceStub:
        stub = schedule_service_pb2_grpc.ScheduleServiceStub
        return self._stub("runs", schedule_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def tenant_limits(self) -> tenant_limit_service_pb2_grpc.TenantLimitServiceStub:
        stub = tenant_limit_service_pb2_grpc.TenantLimitServiceStub
        return self._stub("runs", tenant_limit_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def webhooks(self) -> webhook_service_pb2_grpc.WebhookServiceStub:
        stub = webhook_service_pb2_grpc.WebhookServiceStub
        return self._stub("runs", webhook_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def approvals(self) -> approval_service_pb2_grpc.ApprovalServiceStub:
        stub = approval_service_pb2_grpc.ApprovalServiceStub
        return self._stub("runs", approval_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def pipelines(self) -> pipeline_service_pb2_grpc.PipelineServiceStub:
        stub = pipeline_service_pb2_grpc.PipelineServiceStub
        return self._stub("runs", pipeline_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def prompts(self) -> prompt_service_pb2_grpc.PromptServiceStub:
        stub = prompt_service_pb2_grpc.PromptServiceStub
        return self._stub("runs", prompt_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def artifacts(self) -> artifact_service_pb2_grpc.ArtifactServiceStub:
        stub = artifact_service_pb2_grpc.ArtifactServiceStub
        return self._stub("artifacts", artifact_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def uploads(self) -> upload_service_pb2_grpc.UploadServiceStub:
        stub = upload_service_pb2_grpc.UploadServiceStub
        return self._stub("artifacts", upload_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def generations(self) -> generation_service_pb2_grpc.GenerationServiceStub:
        stub = generation_service_pb2_grpc.GenerationServiceStub
        return self._stub("llm_gateway", generation_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def calls(self) -> call_service_pb2_grpc.CallServiceStub:
        stub = call_service_pb2_grpc.CallServiceStub
        return self._stub("llm_gateway", call_service_pb2.DESCRIPTOR, stub)

    @cached_property
    def catalog(self) -> catalog_service_pb2_grpc.CatalogServiceStub:
        stub = catalog_service_pb2_grpc.CatalogServiceStub
        return self._stub("llm_gateway", catalog_service_pb2.DESCRIPTOR, stub)

    def watch_run(
        self,
        tenant_id: str,
        run_id: str,
        after: int = 0,
        *,
        reconnect_seconds: float = 60.0,
        on_cut: Callable[[ApiError], None] | None = None,
        on_resumed: Callable[[float], None] | None = None,
    ) -> AsyncGenerator[run_pb2.RunEvent]:
        """Yield a run's events after the sequence number `after`, up to its final state.

        A connection that breaks is opened again: no event is lost and none comes twice. Raises
        ApiError when the service refuses, or cannot be reached for `reconnect_seconds` on end.
        `on_cut` is called with the reason of a break, and `on_resumed` with its seconds.
        """
        return watch_run(
            self.runs,
            tenant_id,
            run_id,
            after,
            reconnect_seconds=reconnect_seconds,
            on_cut=on_cut,
            on_resumed=on_resumed,
        )

    def watch_step_text(
        self,
        tenant_id: str,
        run_id: str,
        step: str,
        item: int = 0,
        visit: int = 1,
        *,
        reconnect_seconds: float = 60.0,
    ) -> AsyncGenerator[run_pb2.StepText | run_pb2.RunStep]:
        """Yield the text with which a model answers a step, as it comes, and at last the step.

        A connection that breaks is opened again: no piece is lost and none comes twice. When the
        attempt of a text is another than before, what came of the one before is void. Raises
        ApiError when the service refuses, or cannot be reached for `reconnect_seconds` on end.
        """
        request = run_service_pb2.WatchStepTextRequest(
            tenant_id=tenant_id, run_id=run_id, step=step, item=item, visit=visit
        )
        return watch_step_text(self.runs, request, reconnect_seconds)

    async def upload(
        self, tenant_id: str, target: transfer.UploadTarget, source: Path
    ) -> artifact_pb2.Artifact:
        """Commit a file; nothing is sent when the same one is committed there already.

        A stream that breaks is sent again. Raises ApiError, and OSError when it cannot be read.
        """
        return await transfer.upload(self.uploads, self.artifacts, tenant_id, target, source)

    async def download(self, tenant_id: str, path: str, target: Path) -> artifact_pb2.Artifact:
        """Fetch a file; `target` appears whole and verified, or not at all.

        Raises ApiError, BytesCorrupt, and OSError when `target` cannot be written.
        """
        return await transfer.download(self.artifacts, tenant_id, path, target)

    def read(self, tenant_id: str, path: str) -> transfer.Download:
        """Return a file to be read chunk by chunk, verified when the last has come."""
        return transfer.Download(self.artifacts, tenant_id, path)

    async def reply(self, tenant_id: str, key: call_pb2.CallKey) -> bytes:
        """Fetch the reply to a settled call, one JSON object. Raises ApiError, BytesCorrupt."""
        return await transfer.reply(self.calls, tenant_id, key)

    async def close(self) -> None:
        """End every connection; calls in flight are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _stub(
        self, at: str, file: FileDescriptor, make: Callable[[grpc.aio.Channel], Stub]
    ) -> Stub:
        (service,) = file.services_by_name.values()
        channel = Channel(self.settings.address(at), service, self.settings)
        self._channels.append(channel)
        return channel.stub(make)
