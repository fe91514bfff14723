"""An OpenID Connect provider as one of its clients sees it: its configuration, and its tokens."""

from __future__ import annotations

import http.client
import ipaddress
import json
import math
import ssl
import time
import urllib.error
import urllib.request
from functools import cached_property
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode, urlsplit

import jwt

from nagaya_client.errors import LoginFailed, SettingsInvalid
from nagaya_client.login.grant import Grant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nagaya_client.login.grant import LoginSettings

_CONFIGURATION = "/.well-known/openid-configuration"
_SCOPES = ("openid", "offline_access")
"""What is asked for in any case; the second, for a token that renews, where it is known."""
_SECONDS = 10.0
_ANSWER_BYTES = 1 << 20
_REVOCATION = "revocation_endpoint"
_PERMANENT = range(300, 500)
_TRY_LATER = 429


class IssuerRefused(LoginFailed):
    """The provider answered a request for a token with an error of RFC 6749."""

    def __init__(
        self, issuer: str, error: str, description: str = "", *, transient: bool = False
    ) -> None:
        said = f"{error}: {description}" if description else error
        super().__init__(f"{issuer} refused: {said}", transient=transient)
        self.error = error


class Issuer:
    """The provider that `settings` name.

    Its methods raise LoginFailed, and SettingsInvalid when an address cannot be one. They wait for
    the provider for ten seconds at most.
    """

    def __init__(self, settings: LoginSettings) -> None:
        self.settings = settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as error:
            raise SettingsInvalid(
                f"{settings.ca_file} cannot be used: {error.strerror or error}",
                "NAGAYA_OIDC_CA_FILE names certificates in PEM.",
            ) from None
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), _NoRedirections
        )

    def endpoint(self, name: str) -> str:
        """Return where a request goes, such as `token_endpoint`; empty where there is no such."""
        return _text(self._configuration, name)

    @property
    def scope(self) -> str:
        supported = self._configuration.get("scopes_supported")
        known = cast("list[object]", supported) if isinstance(supported, list) else []
        always = [name for name in _SCOPES if name == "openid" or name in known]
        return " ".join(dict.fromkeys([*always, *self.settings.scope.split()]))

    def post(self, endpoint: str, form: Mapping[str, str]) -> dict[str, object]:
        """Send a request as this client. Raises IssuerRefused."""
        url, body = self._send(endpoint, form)
        return _parsed(url, body)

    def revoke(self, token: str) -> None:
        """Withdraw a token that renews, where the provider lets a client do that."""
        if self.endpoint(_REVOCATION):
            self._send(_REVOCATION, {"token": token, "token_type_hint": "refresh_token"})

    def token(self, form: Mapping[str, str]) -> Grant:
        """Ask for a token. Raises IssuerRefused."""
        answer = self.post("token_endpoint", {**self.settings.api, **form})
        token = _text(answer, "access_token")
        lasts = _lifetime(token, answer.get("expires_in"))
        now = time.time()
        return Grant(
            token,
            _text(answer, "refresh_token"),
            renew_time=now + max(lasts - 60, lasts / 2),
            expire_time=now + lasts,
        )

    @cached_property
    def _configuration(self) -> dict[str, object]:
        issuer = self.settings.issuer.rstrip("/")
        url = issuer + _CONFIGURATION
        found = _parsed(url, self._answer(url))
        if (named := _text(found, "issuer")).rstrip("/") != issuer:
            raise LoginFailed(
                f"what is at {issuer} says that it is {named or 'nobody'}",
                "Give the issuer as the provider names itself.",
            )
        return found

    def _send(self, endpoint: str, form: Mapping[str, str]) -> tuple[str, bytes]:
        url = self.endpoint(endpoint)
        if not url:
            raise LoginFailed(f"{self.settings.issuer} has no {endpoint}")
        sent = {"client_id": self.settings.client_id, **form}
        return url, self._answer(url, urlencode(sent).encode())

    def _answer(self, url: str, body: bytes | None = None) -> bytes:
        _check_url(url)
        request = urllib.request.Request(  # noqa: S310 - its scheme was checked
            url, data=body, headers={"accept": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=_SECONDS) as response:
                return response.read(_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(url, error) from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or error
            raise LoginFailed(f"{url} cannot be reached: {why}", transient=True) from None

    def _failure(self, url: str, error: urllib.error.HTTPError) -> LoginFailed:
        try:
            said = _parsed(url, error.read(_ANSWER_BYTES))
        except (LoginFailed, OSError, http.client.HTTPException):
            said = {}
        transient = error.code not in _PERMANENT or error.code == _TRY_LATER
        if code := _text(said, "error"):
            description = _text(said, "error_description")
            return IssuerRefused(self.settings.issuer, code, description, transient=transient)
        return LoginFailed(f"{url} answered with status {error.code}", transient=transient)


def number(value: object) -> float | None:
    """Return a number of an answer, which some providers send as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


class _NoRedirections(urllib.request.HTTPRedirectHandler):
    """Whoever answers with a redirection may not say where a token is asked for."""

    def redirect_request(self, *_: object, **__: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - whatever it is given
        return None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname or "")):
        return
    raise SettingsInvalid(
        f"{url} is no address of an OpenID Connect provider",
        "It begins with https://; http:// is for a provider on this machine only.",
    )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parsed(url: str, body: bytes) -> dict[str, object]:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise LoginFailed(f"{url} did not answer with a JSON object")
    return cast("dict[str, object]", found)


def _text(answer: Mapping[str, object], name: str) -> str:
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def _lifetime(token: str, expires_in: object) -> float:
    """Return how many seconds a token lasts. Raises LoginFailed when no service can verify it."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise LoginFailed(
            "the provider gave a token that services cannot verify: it is no JWT",
            "Say for which API it is: NAGAYA_OIDC_RESOURCE, NAGAYA_OIDC_AUDIENCE "
            "or a scope of it, as your provider wants it.",
        ) from None
    lasts = number(expires_in)
    if lasts is not None:
        return lasts
    expiry = number(claims.get("exp"))
    return 0.0 if expiry is None else expiry - time.time()
