"""The OpenID Connect provider `oidc-provider` of npm, on loopback; installed once per clone."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from tests.support.oidc_issuer import new_key

from nagaya_local.machine.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Generator

    from tls.files import KeyPair

_FOLDER = Path(__file__).parent / "oidc_provider"
_LOCK = Path(__file__).resolve().parents[2] / ".cache" / "oidc-provider.lock"


class NpmOidcProvider:
    """The provider with one signing key of `algorithm`; it can be started again with another.

    With a certificate it serves by TLS.
    """

    def __init__(self, folder: Path, own: KeyPair | None = None) -> None:
        self._jwks = folder / "provider.json"
        self._port = free_port()
        self._own = own
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"{'http' if own is None else 'https'}://127.0.0.1:{self._port}"

    @contextmanager
    def installed(self) -> Generator[NpmOidcProvider]:
        """Install it; end it when the block ends."""
        _install()
        try:
            yield self
        finally:
            self.stop()

    def start(self, kid: str, algorithm: str) -> None:
        """Start it with a new key."""
        private: Any = new_key(algorithm)
        jwk = (ECAlgorithm if algorithm == "ES256" else RSAAlgorithm).to_jwk(private, as_dict=True)
        members = jwk | {"kid": kid, "alg": algorithm, "use": "sig"}
        members.pop("key_ops", None)
        self._jwks.write_text(json.dumps({"keys": [members]}))
        node = shutil.which("node")
        assert node is not None, "Node.js 20 or newer with npm is needed: https://nodejs.org"
        own = () if self._own is None else (self._own.cert_file, self._own.key_file)
        self._process = subprocess.Popen(
            (node, _FOLDER / "server.mjs", str(self._port), self._jwks, *own),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()) != b"ready\n":
            assert line, "the provider has ended before it was ready"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    async def token_of_client(self, scope: str) -> str:
        """Return an access token of a program, by its client credentials."""
        form = {"grant_type": "client_credentials", "scope": scope}
        headers = {"authorization": aiohttp.encode_basic_auth("robot", "secret")}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{self.url}/token", data=form) as response,
        ):
            return (await response.json())["access_token"]


def _install() -> None:
    npm = shutil.which("npm")
    assert npm is not None, "Node.js 20 or newer with npm is needed: https://nodejs.org"
    stamp, lock = _FOLDER / "node_modules" / ".installed", _FOLDER / "package-lock.json"
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
            return
        command = [npm, "ci", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=_FOLDER, check=True, capture_output=True)
        stamp.write_bytes(lock.read_bytes())
