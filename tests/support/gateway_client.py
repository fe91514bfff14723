"""A client of one gateway, with what the ledger and the stub say of its calls."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2
from tests.support.run_files import RunFiles
from tests.support.waiting import fewer_run, wait_until

from nagaya.llm_gateway.v1 import (
    call_pb2,
    call_service_pb2,
    call_service_pb2_grpc,
    catalog_service_pb2_grpc,
    generation_pb2,
    generation_service_pb2,
    generation_service_pb2_grpc,
    model_pb2,
)
from servicekit.status import DETAILS_KEY

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

    import asyncpg
    from tests.support.gateway_stack import GatewayStack
    from tests.support.processes import ServiceProcess

Json: TypeAlias = Any  # what a test looks into
Fields: TypeAlias = Any  # of a message
REDO = generation_pb2.UNKNOWN_POLICY_REDO
FAIL = generation_pb2.UNKNOWN_POLICY_FAIL


class Refused(Exception):
    """What a caller is told: the code, the reason, and what else the ErrorInfo holds."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details())
        self.code = error.code()
        info = error_details_pb2.ErrorInfo()
        for key, value in error.trailing_metadata():
            if key == DETAILS_KEY and isinstance(value, bytes):
                for detail in status_pb2.Status.FromString(value).details:
                    detail.Unpack(info)
        self.reason = info.reason.removeprefix("ERROR_REASON_")
        self.metadata = dict(info.metadata)


class GatewayClient:
    """One run of one tenant, asked about through one process of the gateway."""

    def __init__(
        self, stack: GatewayStack, gateway: ServiceProcess, tenant_id: str, run_id: str
    ) -> None:
        self.stack = stack
        self.gateway = gateway
        self.tenant_id = tenant_id
        self.run_id = run_id
        self.word = f"word-{secrets.token_hex(6)}"
        """Stands in every prompt, so that the stub's script can be told of this run only."""
        self.scope: str | None = None
        """What a person's token allows; None where the workload runs asks."""
        self.request_id: str | None = None
        """What each request says that it is; nothing when None."""
        # No channel of servicekit's: nothing may be sent again behind a test's back.
        options = [("grpc.enable_retries", 0)]
        self._channel = grpc.aio.insecure_channel(gateway.address, options=options)
        self.generation = generation_service_pb2_grpc.GenerationServiceStub(self._channel)
        self.calls = call_service_pb2_grpc.CallServiceStub(self._channel)
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(self._channel)
        self.files = RunFiles(stack, tenant_id, run_id)
        self._others: list[GatewayClient] = []
        self.database: asyncpg.Connection[asyncpg.Record]

    @classmethod
    async def open(
        cls, stack: GatewayStack, gateway: ServiceProcess, tenant_id: str = "acme"
    ) -> GatewayClient:
        """Open a client for a new run."""
        client = cls(stack, gateway, tenant_id, str(uuid.uuid4()))
        if tenant_id in stack.databases:
            client.database = await stack.database(stack.databases[tenant_id])
            await client.database.execute(
                """
                INSERT INTO runs (id, status, pipeline, pipeline_version, user_id, request_id,
                                  request_digest)
                VALUES ($1::text::uuid, 'running', 'article', 1, 'ada', $1, '')
                """,
                client.run_id,
            )
        return client

    async def via(self, gateway: ServiceProcess) -> GatewayClient:
        """Return the same run, asked about through another process; it closes with this one."""
        other = GatewayClient(self.stack, gateway, self.tenant_id, self.run_id)
        other.word = self.word
        self._others.append(other)
        other.database = await self.stack.database(self.stack.databases[self.tenant_id])
        return other

    async def as_person(self, scope: str) -> GatewayClient:
        """Return the same run, asked about by a person; it closes with this one."""
        person = await self.via(self.gateway)
        person.scope = scope
        return person

    async def for_tenant(self, tenant_id: str) -> GatewayClient:
        """Return a run of another tenant; it closes with this one."""
        other = await GatewayClient.open(self.stack, self.gateway, tenant_id)
        self._others.append(other)
        return other

    async def close(self) -> None:
        for other in self._others:
            await other.close()
        await self._channel.close()
        await self.files.close()
        if hasattr(self, "database"):
            await self.database.close()

    def key(self, call: int = 1, step: str = "draft") -> call_pb2.CallKey:
        return call_pb2.CallKey(run_id=self.run_id, step=step, item=0, visit=1, call=call)

    def spec(
        self,
        text: str = "Write about cranes.",
        *,
        call: int = 1,
        step: str = "draft",
        **more: Fields,
    ) -> generation_pb2.GenerationSpec:
        """Make a request for a reply; `more` are fields of GenerationSpec."""
        part = generation_pb2.Part(text=f"{self.word}: {text}")
        message = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=[part])
        more.setdefault("messages", [message])
        return generation_pb2.GenerationSpec(key=self.key(call, step), **more)

    async def generate(
        self,
        spec: generation_pb2.GenerationSpec | None = None,
        *,
        seconds: float = 60.0,
        **more: Fields,
    ) -> generation_service_pb2.GenerateResponse:
        """Ask through Generate; `more` are fields of its request. Raises Refused."""
        request = generation_service_pb2.GenerateRequest(
            tenant_id=self.tenant_id, spec=spec or self.spec(), **more
        )
        return await self._answer(
            self.generation.Generate(request, timeout=seconds, metadata=self._credentials())
        )

    async def generate_refused(self, spec: generation_pb2.GenerationSpec) -> Refused:
        """Ask through Generate for what must be refused."""
        try:
            await self.generate(spec)
        except Refused as refused:
            return refused
        raise AssertionError("it was answered")

    async def stream(
        self,
        spec: generation_pb2.GenerationSpec | None = None,
        *,
        offset: int = 0,
        attempt: int = 0,
        seconds: float = 60.0,
    ) -> AsyncGenerator[generation_service_pb2.StreamGenerateResponse]:
        """Ask through StreamGenerate. Raises Refused."""
        request = generation_service_pb2.StreamGenerateRequest(
            tenant_id=self.tenant_id, spec=spec or self.spec(), offset=offset, attempt=attempt
        )
        stream = self.generation.StreamGenerate(
            request, timeout=seconds, metadata=self._credentials()
        )
        try:
            async for event in stream:
                yield event
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None
        finally:
            stream.cancel()  # for whoever stops listening

    async def get_call(self, number: int = 1, step: str = "draft") -> call_pb2.Call:
        """Return a call as CallService tells of it. Raises Refused."""
        request = call_service_pb2.GetCallRequest(
            tenant_id=self.tenant_id, key=self.key(number, step)
        )
        found = await self._answer(self.calls.GetCall(request, metadata=self._credentials()))
        return found.call

    async def reply(self, call: call_pb2.Call) -> dict[str, Json]:
        return json.loads(await self.reply_bytes(call.key))

    async def reply_bytes(self, key: call_pb2.CallKey) -> bytes:
        """Return a settled call's reply through GetReply, verified. Raises Refused."""
        request = call_service_pb2.GetReplyRequest(tenant_id=self.tenant_id, key=key)
        stream = self.calls.GetReply(request, metadata=self._credentials())
        first, *others = await self._answer(_listed(stream))
        body = b"".join(message.data for message in others)
        assert hashlib.sha256(body).hexdigest() == first.call.output_digest
        return body

    async def list_calls(
        self, request: call_service_pb2.ListCallsRequest
    ) -> call_service_pb2.ListCallsResponse:
        """Return one page of calls. Raises Refused."""
        return await self._answer(self.calls.ListCalls(request, metadata=self._credentials()))

    async def summarize_usage(self, *run_ids: str) -> list[call_pb2.RunUsage]:
        """Return what the calls of runs add up to. Raises Refused."""
        request = call_service_pb2.SummarizeUsageRequest(tenant_id=self.tenant_id, run_ids=run_ids)
        answer = self.calls.SummarizeUsage(request, metadata=self._credentials())
        return list((await self._answer(answer)).run_usages)

    async def resolve(self, step: str, **more: Fields) -> model_pb2.Resolution:
        """Return which model a step would use; `more` are fields of the request. Raises Refused."""
        request = generation_service_pb2.ResolveRequest(tenant_id=self.tenant_id, step=step, **more)
        found = await self._answer(self.generation.Resolve(request, metadata=self._credentials()))
        return found.resolution

    async def change_catalog(self, method: str, request: Fields) -> Fields:
        """Call a method of CatalogService as a person who may. Raises Refused."""
        metadata = [("authorization", f"Bearer {self.stack.keys.token('ada')}")]
        return await self._answer(getattr(self.catalog, method)(request, metadata=metadata))

    async def wait_for_call(
        self,
        condition: Callable[[call_pb2.Call], bool],
        *asked: asyncio.Future[Any],
        seconds: float = 60,
    ) -> call_pb2.Call:
        """Return the first call when the ledger says of it what is waited for.

        Fails the test at once when the tasks that ask for the call have all ended.
        """

        async def found() -> call_pb2.Call | None:
            try:
                call = await self.get_call()
            except Refused:
                call = call_pb2.Call()
            return call if condition(call) else None

        return await wait_until(found, unless=fewer_run(asked), seconds=seconds)

    async def wait_until_catalog(self, version: int) -> None:
        """Return when the process uses a version of the catalogue, or a later one."""

        async def used() -> bool:
            return (await self.resolve("draft")).catalog_version >= version

        await wait_until(used, unless=self.gateway.ended)

    def _credentials(self) -> list[tuple[str, str]]:
        if self.scope is None:
            token = self.stack.keys.signer("runs").token(self.tenant_id, "ada")
        else:
            token = self.stack.keys.token("ada", scope=self.scope, tenants=[self.tenant_id])
        named = [] if self.request_id is None else [("x-request-id", self.request_id)]
        return [("authorization", f"Bearer {token}"), *named]

    async def _answer(self, call: Awaitable[Fields]) -> Fields:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None

    def provider_calls(self) -> list[dict[str, Json]]:
        """Return the calls that the stub saw for this run."""
        return self.stack.stub.calls(self.run_id)


async def _listed(stream: AsyncIterable[Fields]) -> list[Fields]:
    return [message async for message in stream]


def struct(definition: dict[str, Json]) -> Struct:
    made = Struct()
    made.update(definition)
    return made


def of_class(provider_id: str, model_class: str) -> model_pb2.ModelChoice:
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    return model_pb2.ModelChoice(model_class=chosen)


def by_id(model_id: str) -> model_pb2.ModelChoice:
    return model_pb2.ModelChoice(model_id=model_id)
