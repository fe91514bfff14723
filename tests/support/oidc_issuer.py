"""An OpenID Connect issuer that does whatever a test wants of it: keys, redirections, outages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

if TYPE_CHECKING:
    from types import TracebackType

    SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

CONFIGURATION = "/.well-known/openid-configuration"


def new_key(algorithm: str) -> SigningKey:
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def public_jwk(key: SigningKey, kid: str, **members: object) -> dict[str, Any]:
    public: Any = key.public_key()
    kind: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    found = next((of for base, of in kind.items() if isinstance(key, base)), OKPAlgorithm)
    return found.to_jwk(public, as_dict=True) | {"kid": kid, "use": "sig"} | members


class OidcIssuer:
    """Serves a configuration and keys on a free port; `requests` are the paths asked for.

    `configuration` and `jwks` may be changed at any time. `answer`, if set, is given to every
    request instead: a function that makes a response.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.url = ""
        self.keys: dict[str, SigningKey] = {}
        self.jwks: dict[str, Any] = {"keys": []}
        self.configuration: dict[str, Any] = {}
        self.requests: list[str] = []
        self.answer: Any = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.configuration = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def add_key(self, kid: str, algorithm: str = "RS256", **members: object) -> SigningKey:
        """Make a key and publish it."""
        key = self.keys[kid] = new_key(algorithm)
        self.jwks["keys"].append(public_jwk(key, kid, **members))
        return key

    def remove_key(self, kid: str) -> None:
        self.jwks["keys"] = [jwk for jwk in self.jwks["keys"] if jwk["kid"] != kid]

    def token(
        self,
        kid: str,
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        **claims: object,
    ) -> str:
        """Sign a token. `claims` replace what it would say; None leaves one out."""
        content: dict[str, Any] = {
            "iss": self.url,
            "aud": "nagaya",
            "sub": "ada",
            "scope": "runs.read",
            "tenants": ["acme"],
            "exp": int(time.time() + 300),
        }
        said = {name: value for name, value in (content | claims).items() if value is not None}
        return jwt.encode(said, self.keys[kid], algorithm, {"kid": kid} | (headers or {}))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        if self.answer is not None:
            return await self.answer(request)
        if request.path == CONFIGURATION:
            return web.json_response(self.configuration)
        if request.path == "/keys":
            return web.json_response(self.jwks)
        raise web.HTTPNotFound
