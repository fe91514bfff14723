"""Key files of the clone: token issuer, workload keys, sealing keys."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from nagaya_local.machine import files

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = "nagaya-local"
ISSUER_KID = "issuer"
WORKLOADS = ("tenant", "runs", "artifacts", "llm-gateway")


class Keys:
    """The key files in a folder, made when missing and kept from then on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def jwks(self) -> Path:
        """The public keys: of the issuer, and of every workload under `workload-<name>`."""
        return self._folder / "jwks.json"

    @property
    def issuer(self) -> Path:
        return self._folder / "issuer.pem"

    @property
    def keyring(self) -> Path:
        """The keys with which tenant seals credentials, 32 bytes each, and which one is active."""
        return self._folder / "keyring.json"

    def workload(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def make(self) -> None:
        """Make what is missing, and the file of public keys anew."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if not self.keyring.exists():
            ring = {"active": "k1", "keys": {"k1": b64encode(secrets.token_bytes(32)).decode()}}
            files.write_private(self.keyring, json.dumps(ring) + "\n")
        named = {ISSUER_KID: self.issuer}
        named |= {f"workload-{name}": self.workload(name) for name in WORKLOADS}
        public = [_public(_private(path), kid) for kid, path in named.items()]
        files.write_private(self.jwks, json.dumps({"keys": public}, indent=2) + "\n")

    def issuer_key(self) -> ec.EllipticCurvePrivateKey:
        return _private(self.issuer)


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        files.write_private(path, pem.decode())
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds a key of another kind")
    return key


def _public(key: ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    jwk: dict[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwk | {"kid": kid, "alg": "ES256", "use": "sig"}
