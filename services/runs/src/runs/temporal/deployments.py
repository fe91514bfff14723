"""Versions of workers in Temporal's Worker Deployments: a run stays with the build it began on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus
from temporalio.api.workflowservice.v1 import (
    DeleteWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentRequest,
    ListWorkerDeploymentsRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from runs.errors import TemporalUnavailable

if TYPE_CHECKING:
    from temporalio.client import Client

_CALL = timedelta(seconds=10)
_PREFIX = "nagaya-"
_PAGE = 100
_REFUSED = (RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.NOT_FOUND)


class VersionState(StrEnum):
    """What becomes of runs and workers of a version."""

    INACTIVE = "inactive"
    """No run has begun on it."""
    CURRENT = "current"
    """New runs begin on it."""
    RAMPING = "ramping"
    """Some new runs begin on it."""
    DRAINING = "draining"
    """Runs that began on it have not ended: its workers are needed."""
    DRAINED = "drained"
    """Nothing is left of it to do."""


@dataclass(frozen=True, slots=True)
class WorkerVersion:
    """A version of the workers of a deployment."""

    deployment: str
    build_id: str
    state: VersionState


_STATES = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: VersionState.CURRENT,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: VersionState.RAMPING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: VersionState.DRAINING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: VersionState.DRAINED,
}


def deployment_name(task_queue: str) -> str:
    """Return the name of the deployment whose workers work on a task queue."""
    return _PREFIX + task_queue


class WorkerDeployments:
    """The deployments of Nagaya's workers in one namespace. Methods raise TemporalUnavailable.

    Temporal lists deployments as it finds workflows: for a moment, one that has just changed may be
    missing. `own` is not: it is looked at by its name.
    """

    def __init__(self, client: Client, own: str) -> None:
        self._client = client
        self._own = own
        self._service = client.workflow_service

    async def versions(self) -> list[WorkerVersion]:
        """Return all versions, by deployment, the newest first."""
        names = sorted({self._own, *await self._names()})
        return [one for name in names for one in await self._versions_of(name)]

    async def make_current(self, deployment: str, build_id: str) -> None:
        """Have new runs begin on a build; those that have begun stay where they are.

        Raises VersionUnknown if no worker of it is there.
        """
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace, deployment_name=deployment, build_id=build_id
        )
        try:
            await self._service.set_worker_deployment_current_version(request, timeout=_CALL)
        except RPCError as error:
            if error.status in _REFUSED:
                raise VersionUnknown(deployment, build_id) from error
            raise _unavailable(error) from error

    async def remove_drained(self) -> list[WorkerVersion]:
        """Remove the versions that have nothing left to do and no workers; return them.

        Temporal keeps at most 100 versions of a deployment, and removes none by itself in time: a
        deployment that has as many takes no new one.
        """
        found = await self.versions()
        drained = [one for one in found if one.state is VersionState.DRAINED]
        return [one for one in drained if await self._remove(one)]

    async def _versions_of(self, deployment: str) -> list[WorkerVersion]:
        """Return the versions of a deployment, the newest first: none if there is no such."""
        request = DescribeWorkerDeploymentRequest(
            namespace=self._client.namespace, deployment_name=deployment
        )
        try:
            described = await self._service.describe_worker_deployment(request, timeout=_CALL)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return []
            raise _unavailable(error) from error
        return [
            WorkerVersion(
                deployment,
                one.deployment_version.build_id,
                _STATES.get(one.status, VersionState.INACTIVE),
            )
            for one in described.worker_deployment_info.version_summaries
        ]

    async def _remove(self, one: WorkerVersion) -> bool:
        version = WorkerDeploymentVersion(deployment_name=one.deployment, build_id=one.build_id)
        request = DeleteWorkerDeploymentVersionRequest(
            namespace=self._client.namespace, deployment_version=version
        )
        try:
            await self._service.delete_worker_deployment_version(request, timeout=_CALL)
        except RPCError as error:
            if error.status in _REFUSED:
                return False  # it has workers still, or another process was faster
            raise _unavailable(error) from error
        return True

    async def _names(self) -> list[str]:
        names: list[str] = []
        token = b""
        while True:
            request = ListWorkerDeploymentsRequest(
                namespace=self._client.namespace, page_size=_PAGE, next_page_token=token
            )
            try:
                page = await self._service.list_worker_deployments(request, timeout=_CALL)
            except (RPCError, RuntimeError) as error:
                raise _unavailable(error) from error
            names += [one.name for one in page.worker_deployments if one.name.startswith(_PREFIX)]
            token = page.next_page_token
            if not token:
                return names


class VersionUnknown(Exception):
    """No worker of a build has asked Temporal for work."""

    def __init__(self, deployment: str, build_id: str) -> None:
        super().__init__(
            f"no worker of build {build_id} works for {deployment}: start one with "
            f"NAGAYA_WORKER_BUILD_ID={build_id} first"
        )


def _unavailable(error: Exception) -> TemporalUnavailable:
    if isinstance(error, RPCError):
        return TemporalUnavailable(f"Temporal answered {error.status.name}")
    return TemporalUnavailable("Temporal cannot be reached")
