"""OperationService: who sees, resumes and cancels operations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.sagas import Steps, begin, ended, refuse, running

from nagaya.tenant.v1 import operation_pb2, operation_service_pb2, operation_service_pb2_grpc
from servicekit.errors import DomainError
from tenant.domain.operations import OperationState

if TYPE_CHECKING:
    from interceptor.testing import RunningServer
    from tenant.composition import Composition


def stub(
    server: RunningServer, *, user_id: str = "ada", tenants: tuple[str, ...] = ("*",)
) -> operation_service_pb2_grpc.OperationServiceStub:
    channel = server.channel(user_id=user_id, scope="*", tenants=tenants)
    return operation_service_pb2_grpc.OperationServiceStub(channel)


async def test_it_is_watched_to_its_end(service: Composition, server: RunningServer) -> None:
    steps = Steps()
    begun = await begin(service)
    request = operation_service_pb2.WatchOperationRequest(operation_id=begun.operation_id)
    async with asyncio.timeout(50), running(service, steps.saga()):
        watched = stub(server).WatchOperation(request)
        seen = [response.operation async for response in watched]

    assert seen[-1].state == operation_pb2.OPERATION_STATE_DONE
    assert seen[-1].step == "three"
    assert seen[-1].kind == operation_pb2.OPERATION_KIND_PURGE_TENANT
    assert {one.tenant_id for one in seen} == {"acme"}


async def test_operations_are_listed_newest_first_and_only_to_those_who_may_see_their_tenants(
    service: Composition, server: RunningServer
) -> None:
    begun = [
        (await begin(service, f"r{n}", tenant)).operation_id
        for n, tenant in enumerate(("acme", "globex", "acme", ""))
    ]

    async def listed(
        who: operation_service_pb2_grpc.OperationServiceStub,
        tenant_id: str = "",
        state: operation_pb2.OperationState.ValueType = operation_pb2.OPERATION_STATE_UNSPECIFIED,
    ) -> list[str]:
        request = operation_service_pb2.ListOperationsRequest(
            page_size=2, tenant_id=tenant_id, state=state
        )
        found: list[str] = []
        while True:
            page = await who.ListOperations(request)
            found += [one.operation_id for one in page.operations]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    acme = stub(server, tenants=("acme",))
    assert await listed(stub(server)) == begun[::-1]
    assert await listed(stub(server), tenant_id="globex") == [begun[1]]
    assert await listed(acme) == [begun[2], begun[0]]
    assert await listed(acme, tenant_id="globex") == []
    running_ = operation_pb2.OPERATION_STATE_RUNNING
    assert await listed(stub(server), state=running_) == begun[::-1]
    assert await listed(stub(server), state=operation_pb2.OPERATION_STATE_DONE) == []

    with pytest.raises(DomainError) as error:
        await acme.GetOperation(operation_service_pb2.GetOperationRequest(operation_id=begun[1]))
    assert error.value.reason == "ERROR_REASON_OPERATION_NOT_FOUND"
    with pytest.raises(DomainError) as error:
        await acme.ResumeOperation(
            operation_service_pb2.ResumeOperationRequest(operation_id=begun[0])
        )
    assert error.value.reason == "ERROR_REASON_PERMISSION_DENIED"


async def test_whoever_may_change_tenants_resumes_it_without_the_request(
    service: Composition, server: RunningServer
) -> None:
    steps = Steps()
    steps.on["two"] = refuse
    bob = stub(server, user_id="bob")
    async with running(service, steps.saga()):
        failed = await ended(service, await begin(service))
        steps.on.clear()
        request = operation_service_pb2.ResumeOperationRequest(operation_id=failed.operation_id)
        resumed = await bob.ResumeOperation(request)
        assert resumed.operation.state == operation_pb2.OPERATION_STATE_RUNNING
        assert (await ended(service, failed)).state is OperationState.DONE
        with pytest.raises(DomainError) as error:
            await bob.ResumeOperation(request)

    assert error.value.reason == "ERROR_REASON_OPERATION_NOT_RESUMABLE"
    assert steps.users == {"ada"}


async def test_what_cannot_be_undone_cannot_be_cancelled(
    service: Composition, server: RunningServer
) -> None:
    begun = await begin(service)

    with pytest.raises(DomainError) as error:
        await stub(server).CancelOperation(
            operation_service_pb2.CancelOperationRequest(operation_id=begun.operation_id)
        )

    assert error.value.reason == "ERROR_REASON_OPERATION_NOT_CANCELLABLE"
    assert error.value.metadata["state"] == "running"
