"""Doubles of HashiCorp Vault's transit engine and of AWS KMS, with real encryption.

The first follows https://developer.hashicorp.com/vault/api-docs/secret/transit, and hvac calls it
in a test. The second checks signatures and the form of requests with botocore, which calls it, too.
"""

from __future__ import annotations

import base64
import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import botocore.session
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.validate import ParamValidator
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

REGION = "eu-central-1"
ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass
class VaultDouble:
    """One transit key `nagaya`; `token` is what it accepts, `status` an answer to every request."""

    token: str = "s.right"
    status: int = 200
    versions: list[AESGCM] = field(default_factory=lambda: [AESGCM(secrets.token_bytes(32))])
    calls: list[str] = field(default_factory=list)
    address: str = ""

    def rotate(self) -> None:
        self.versions.append(AESGCM(secrets.token_bytes(32)))

    async def handle(self, request: web.Request) -> web.Response:
        operation = request.match_info["operation"]
        self.calls.append(operation)
        if self.status != 200:
            return _errors(self.status, "Vault is sealed" if self.status == 503 else "internal")
        if request.headers.get("X-Vault-Token") != self.token:
            return _errors(403, "permission denied")
        if request.match_info["key"] != "nagaya":
            return _errors(400, "encryption key not found")
        body = await request.json()
        associated = base64.b64decode(body.get("associated_data", ""), validate=True)
        if operation == "encrypt":
            return _data(self._encrypt(base64.b64decode(body["plaintext"]), associated))
        try:
            return _data(self._decrypt(body["ciphertext"], associated))
        except (InvalidTag, ValueError, IndexError):
            return _errors(400, "cipher: message authentication failed")

    def _encrypt(self, plaintext: bytes, associated: bytes) -> dict[str, Any]:
        nonce = secrets.token_bytes(12)
        raw = nonce + self.versions[-1].encrypt(nonce, plaintext, associated)
        version = len(self.versions)
        text = f"vault:v{version}:{base64.b64encode(raw).decode()}"
        return {"ciphertext": text, "key_version": version}

    def _decrypt(self, ciphertext: str, associated: bytes) -> dict[str, Any]:
        _, version, text = ciphertext.split(":")
        raw = base64.b64decode(text, validate=True)
        key = self.versions[int(version.removeprefix("v")) - 1]
        plaintext = key.decrypt(raw[:12], raw[12:], associated)
        return {"plaintext": base64.b64encode(plaintext).decode()}


@dataclass
class KmsDouble:
    """One symmetric key; `failure` is the type of error with which it answers everything."""

    key_id: str = "alias/nagaya"
    failure: str = ""
    calls: list[str] = field(default_factory=list)
    address: str = ""

    def __post_init__(self) -> None:
        self._key = AESGCM(secrets.token_bytes(32))
        model = botocore.session.get_session().get_service_model("kms")
        self._model = model

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        prefix, _, operation = request.headers["X-Amz-Target"].partition(".")
        self.calls.append(operation)
        if (prefix, request.content_type) != ("TrentService", "application/x-amz-json-1.1"):
            return self._error("UnknownOperationException")
        if self.failure:
            return self._error(self.failure)
        if not _is_signed(request, body):
            return self._error("InvalidSignatureException", "the signature does not match")
        content = json.loads(body)
        shape = self._model.operation_model(operation).input_shape
        for name in ("Plaintext", "CiphertextBlob"):
            if name in content:
                content[name] = base64.b64decode(content[name], validate=True)
        report = ParamValidator().validate(content, shape)
        if report.has_errors():
            return self._error("ValidationException", report.generate_report())
        if content.get("KeyId", self.key_id) != self.key_id:
            return self._error("NotFoundException", f"Key {content['KeyId']} is not found")
        return self._answer(operation, content)

    def _answer(self, operation: str, content: dict[str, Any]) -> web.Response:
        context = json.dumps(content.get("EncryptionContext", {}), sort_keys=True).encode()
        if operation == "Encrypt":
            nonce = secrets.token_bytes(12)
            blob = nonce + self._key.encrypt(nonce, content["Plaintext"], context)
            return _amz({"CiphertextBlob": base64.b64encode(blob).decode(), "KeyId": self.key_id})
        blob = content["CiphertextBlob"]
        try:
            plaintext = self._key.decrypt(blob[:12], blob[12:], context)
        except (InvalidTag, ValueError):
            return self._error("InvalidCiphertextException", "")
        return _amz({"Plaintext": base64.b64encode(plaintext).decode(), "KeyId": self.key_id})

    def _error(self, kind: str, message: str = "") -> web.Response:
        return _amz({"__type": kind, "message": message}, 400)


def _is_signed(request: web.Request, body: bytes) -> bool:
    """Compute the signature with botocore, of the headers that were signed."""
    scheme, _, rest = request.headers["Authorization"].partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    signed = {name: request.headers[name] for name in parts["SignedHeaders"].split(";")}
    found = AWSRequest("POST", f"http://{request.host}{request.path}", headers=signed, data=body)
    found.context["timestamp"] = request.headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kms", REGION)
    text = auth.string_to_sign(found, auth.canonical_request(found))
    covered = {"host", "x-amz-date", "x-amz-target"} <= signed.keys()
    return (
        scheme == "AWS4-HMAC-SHA256"
        and covered
        and parts["Credential"].startswith(f"{ACCESS_KEY}/")
        and parts["Signature"] == auth.signature(text, found)
    )


@asynccontextmanager
async def running_vault() -> AsyncGenerator[VaultDouble]:
    double = VaultDouble()
    async with _listening("/v1/transit/{operation}/{key}", double):
        yield double


@asynccontextmanager
async def running_kms() -> AsyncGenerator[KmsDouble]:
    double = KmsDouble()
    async with _listening("/", double):
        yield double


@asynccontextmanager
async def _listening(path: str, double: VaultDouble | KmsDouble) -> AsyncGenerator[None]:
    application = web.Application()
    application.router.add_route("*", path, double.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    double.address = f"http://{host}:{port}"
    yield
    await runner.cleanup()


def _data(data: dict[str, Any]) -> web.Response:
    return web.json_response({"request_id": "r", "lease_id": "", "data": data, "warnings": None})


def _errors(status: int, *errors: str) -> web.Response:
    return web.json_response({"errors": errors}, status=status)


def _amz(content: dict[str, Any], status: int = 200) -> web.Response:
    body = json.dumps(content).encode()
    return web.Response(body=body, status=status, content_type="application/x-amz-json-1.1")
