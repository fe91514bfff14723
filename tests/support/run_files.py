"""Files of a run, as its worker writes and reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.artifacts_client import ArtifactsClient, acting_for
from tests.support.waiting import fewer_run, wait_until

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from servicekit.channel import open_channel
from servicekit.errors import DomainError

if TYPE_CHECKING:
    import asyncio

    import grpc
    from tests.support.gateway_stack import GatewayStack


class RunFiles:
    """The files of one run of one tenant."""

    def __init__(self, stack: GatewayStack, tenant_id: str, run_id: str) -> None:
        self._stack = stack
        self._tenant_id = tenant_id
        self._run_id = run_id
        self._channels: list[grpc.aio.Channel] = []
        self._worker = self._acting("runs")

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def read(self, pointer: artifact_pb2.ArtifactPointer) -> bytes:
        (result,) = await self._worker.get(pointer)
        assert result.WhichOneof("outcome") == "data", result
        return result.data

    async def write(
        self,
        data: bytes,
        *,
        step: str = "outline",
        name: str = "output.json",
        writer: str = "runs",
    ) -> artifact_pb2.Artifact:
        """Commit a file of this run, as a workload."""
        client = self._worker if writer == "runs" else self._acting(writer)
        return await client.put_one(data, client.draft(name, step, "", visit=1))

    async def upload(self, data: bytes, *, step: str = "outline") -> artifact_pb2.Artifact:
        """Commit a large file of this run."""
        return await self._worker.upload(self._worker.draft(step=step, file_type="", visit=1), data)

    async def wait_until_stored(self, *asked: asyncio.Future[Any]) -> None:
        """Return when the first call's reply is in the artifacts service.

        Fails the test at once when the tasks that ask for the call have all ended.
        """
        path = f"storage/{self._tenant_id}/{self._run_id}/draft/artifacts/0-1/call-1.json"
        request = artifact_service_pb2.GetArtifactRequest(tenant_id=self._tenant_id, path=path)

        async def stored() -> bool:
            try:
                await self._worker.artifacts.GetArtifact(request)
            except DomainError:
                return False
            return True

        await wait_until(stored, unless=fewer_run(asked))

    def _acting(self, workload: str) -> ArtifactsClient:
        token = acting_for(self._tenant_id, self._stack.keys, workload)
        channel = open_channel(self._stack.artifacts.address, None, token)
        self._channels.append(channel)
        return ArtifactsClient(channel, self._stack.s3._folder, self._tenant_id, self._run_id)
