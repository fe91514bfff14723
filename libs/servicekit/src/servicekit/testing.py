"""For tests: keys, tokens, and the configuration of a server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from servicekit import settings
from servicekit.identity import AUDIENCE, WorkloadSigner
from servicekit.settings import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from servicekit.identity import PrivateKey

ISSUER = "https://issuer.test"
PERSON_KEY = "person-1"
WORKLOADS = ("tenant", "runs", "artifacts", "llm-gateway")


class Keys:
    """Keys for tests: of an issuer of people's tokens, and a key file for each workload."""

    def __init__(self, folder: Path, workloads: Sequence[str] = WORKLOADS) -> None:
        self.folder = folder
        self.jwks_file = folder / "jwks.json"
        self._person = ec.generate_private_key(ec.SECP256R1())
        jwks = [_public_jwk(self._person, PERSON_KEY)]
        for name in workloads:
            key = ed25519.Ed25519PrivateKey.generate()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.key_file(name).write_bytes(pem)
            self.key_file(name).chmod(0o600)
            jwks.append(_public_jwk(key, f"workload-{name}"))
        self.jwks_file.write_text(json.dumps({"keys": jwks}))

    def key_file(self, workload: str) -> Path:
        return self.folder / f"{workload}.pem"

    def signer(self, workload: str) -> WorkloadSigner:
        return WorkloadSigner.from_file(workload, self.key_file(workload))

    def token(
        self,
        user_id: str = "ada",
        *,
        scope: str = "*",
        tenants: Sequence[str] = ("*",),
        seconds: float = 3600,
        **claims: object,
    ) -> str:
        """Return a person's token. `claims` replace what it would say."""
        content: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "scope": scope,
            "tenants": tenants,
            "exp": int(time.time() + seconds),
        }
        content |= claims
        return jwt.encode(content, self._person, algorithm="ES256", headers={"kid": PERSON_KEY})

    def config(self, workload: str = "runs") -> ServerConfig:
        """Return a server's configuration: any free port on loopback, no drain time, no metrics."""
        variables = {
            "NAGAYA_LISTEN": "127.0.0.1:0",
            "NAGAYA_DRAIN_SECONDS": "0",
            "NAGAYA_JWKS_FILE": str(self.jwks_file),
            "NAGAYA_TOKEN_ISSUER": ISSUER,
            "NAGAYA_WORKLOAD_KEY_FILE": str(self.key_file(workload)),
        }
        return settings.read(ServerConfig.from_environment, variables)


def _public_jwk(key: PrivateKey, kid: str) -> dict[str, Any]:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"kid": kid, **OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)}
    return {"kid": kid, **ECAlgorithm.to_jwk(key.public_key(), as_dict=True)}
