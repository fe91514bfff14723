"""The gRPC methods of SecretService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import secret_service_pb2 as pb
from nagaya.tenant.v1 import secret_service_pb2_grpc
from tenant.servicer.callers import calling_service
from tenant.wire import operations as wire

if TYPE_CHECKING:
    from interceptor.server import Context
    from tenant.app.key_rotation import EncryptionKey, KeyRotation
    from tenant.app.password_rotation import PasswordRotation
    from tenant.app.tenant_secrets import TenantSecrets


class SecretServicer(secret_service_pb2_grpc.SecretServiceServicer):
    """Rotates keys and passwords, and keeps secrets for services."""

    def __init__(
        self, keys: KeyRotation, passwords: PasswordRotation, secrets: TenantSecrets
    ) -> None:
        self._keys = keys
        self._passwords = passwords
        self._secrets = secrets

    async def RotateKeys(
        self, request: pb.RotateKeysRequest, context: Context
    ) -> pb.RotateKeysResponse:
        operation = await self._keys.begin(request.request_id)
        return pb.RotateKeysResponse(operation=wire.operation(operation))

    async def GetKeyRing(
        self, request: pb.GetKeyRingRequest, context: Context
    ) -> pb.GetKeyRingResponse:
        return pb.GetKeyRingResponse(keys=map(_key, await self._keys.keys()))

    async def RotatePasswords(
        self, request: pb.RotatePasswordsRequest, context: Context
    ) -> pb.RotatePasswordsResponse:
        operation = await self._passwords.begin(request.tenant_id, request.request_id)
        return pb.RotatePasswordsResponse(operation=wire.operation(operation))

    async def EnsureTenantSecret(
        self, request: pb.EnsureTenantSecretRequest, context: Context
    ) -> pb.EnsureTenantSecretResponse:
        service = calling_service()
        secret = await self._secrets.ensure(request.tenant_id, service, request.name)
        return pb.EnsureTenantSecretResponse(secret=secret)

    async def DeleteTenantSecret(
        self, request: pb.DeleteTenantSecretRequest, context: Context
    ) -> pb.DeleteTenantSecretResponse:
        await self._secrets.delete(request.tenant_id, calling_service(), request.name)
        return pb.DeleteTenantSecretResponse()


def _key(key: EncryptionKey) -> pb.EncryptionKey:
    return pb.EncryptionKey(
        key_id=key.key_id,
        is_active=key.is_active,
        secret_count=key.secret_count,
        is_present=key.is_present,
    )
