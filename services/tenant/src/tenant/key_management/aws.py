"""AWS Key Management Service, by its HTTP API.

https://docs.aws.amazon.com/kms/latest/APIReference: `Encrypt` and `Decrypt` of the JSON protocol
1.1, signed with Signature Version 4 by AWS's own runtime, which also finds the credentials.
"""

# awscrt has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpHeaders, HttpRequest

from tenant.errors.keys import KeyManagementRefused, KeyManagementUnavailable
from tenant.key_management.http import JsonCaller

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = "AWS KMS"
_OK = 200
_SIGNING_SECONDS = 10.0
# Of the errors with status 400, those after which a later call may succeed.
_TRANSIENT = ("ThrottlingException", "LimitExceededException", "KMSInternalException")


class AwsKms:
    """A symmetric key of AWS KMS: by its id, ARN, alias or the alias's ARN.

    `endpoint` replaces `https://kms.<region>.amazonaws.com`. Without `credentials` they are looked
    for as AWS's tools do: environment, profile, web identity, container, instance.
    """

    def __init__(
        self,
        region: str,
        key_id: str,
        endpoint: str = "",
        credentials: AwsCredentialsProvider | None = None,
    ) -> None:
        self._region = region
        self._key_id = key_id
        self._url = endpoint.rstrip("/") or f"https://kms.{region}.amazonaws.com"
        self._credentials = credentials or AwsCredentialsProvider.new_default_chain()
        self._caller = JsonCaller(_NAME)

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> str:
        """Return the ciphertext in base64."""
        body = {"Plaintext": base64.b64encode(plaintext).decode()}
        return await self._call("Encrypt", body, context, "CiphertextBlob")

    async def decrypt(self, ciphertext: str, context: Mapping[str, str]) -> bytes:
        """Return the plaintext, whichever of the key's materials it was encrypted with."""
        plaintext = await self._call(
            "Decrypt", {"CiphertextBlob": ciphertext}, context, "Plaintext"
        )
        try:
            return base64.b64decode(plaintext, validate=True)
        except binascii.Error:
            raise KeyManagementRefused(_NAME, "the plaintext is not base64") from None

    async def close(self) -> None:
        await self._caller.close()

    async def _call(
        self, operation: str, content: Mapping[str, str], context: Mapping[str, str], field: str
    ) -> str:
        body = {"KeyId": self._key_id, "EncryptionContext": dict(context), **content}
        raw = json.dumps(body).encode()
        status, found = await self._caller.post(
            f"{self._url}/", raw, await self._signed(operation, raw)
        )
        value = found.get(field)
        if status == _OK and isinstance(value, str):
            return value
        kind = str(found.get("__type", "")).rpartition("#")[2] or f"status {status}"
        message = str(found.get("message") or found.get("Message") or "")[:300]
        if kind in _TRANSIENT:
            raise KeyManagementUnavailable(_NAME, kind)
        raise KeyManagementRefused(_NAME, f"{kind} {message}".strip())

    async def _signed(self, operation: str, body: bytes) -> dict[str, str]:
        """Return the headers of a request, the signature among them."""
        headers = {
            "Host": urlsplit(self._url).netloc,
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"TrentService.{operation}",
        }
        request = HttpRequest("POST", "/", HttpHeaders([*headers.items()]), BytesIO(body))
        signing = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=self._credentials,
            region=self._region,
            service="kms",
        )
        try:
            async with asyncio.timeout(_SIGNING_SECONDS):
                signed = await asyncio.wrap_future(aws_sign_request(request, signing))
        except (AwsCrtError, TimeoutError) as error:
            why = getattr(error, "name", "") or "no credentials in time"
            raise KeyManagementUnavailable(_NAME, str(why)) from error
        return dict(signed.headers)
