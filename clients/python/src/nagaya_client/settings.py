"""Settings: where Nagaya is, and who calls. Read here and nowhere else.

Each value comes from the nearest place that has it: the caller's own words (flags), the
environment, the profile in `~/.config/nagaya/config.toml`, the login of that profile, the local
stack of the clone that the current folder lies in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from nagaya_client import profiles
from nagaya_client.errors import SettingsInvalid
from nagaya_client.login.grant import LoginSettings
from nagaya_client.login.saved import SavedLogin
from nagaya_client.tokens import Token
from tls.address import ServerAddress
from tls.files import KeyPair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nagaya_client.tokens import TokenSource

SERVICES = ("tenant", "runs", "artifacts", "llm_gateway")

_ADDRESSES = tuple(f"{service}_address" for service in SERVICES)
KEYS = {
    "tenant_address": "where tenant is: `host:port`, `https://host:port` for TLS, "
    "`dns:///host:port` for several servers",
    "runs_address": "where runs is",
    "artifacts_address": "where artifacts is",
    "llm_gateway_address": "where llm-gateway is",
    "token": "your token",
    "token_file": "the file that holds your token, read anew for every call",
    "tenant": "the tenant meant where a command is given none",
    "ca_file": "certificates to trust, in PEM, instead of the system's",
    "tls_cert_file": "your certificate, in PEM, for servers that ask for one",
    "tls_key_file": "its private key",
    "oidc_issuer": "where `nagaya login` logs you in: the issuer of your OpenID Connect provider",
    "oidc_client_id": "as which client of it, one without a secret",
    "oidc_scope": "what is asked for there besides `openid` and `offline_access`",
    "oidc_audience": "for which API a token is asked for, by the parameter `audience`",
    "oidc_resource": "the same by the parameter `resource` (RFC 8707)",
    "oidc_ca_file": "certificates to trust there, in PEM, instead of the system's",
}
"""What the environment, as `NAGAYA_<KEY>`, and a profile may say, and what it means."""

_LOGIN = ("issuer", "client_id", "scope", "audience", "resource", "ca_file")
_ENDPOINTS = Path("var/dev/endpoints.env")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_NOWHERE = (
    "`nagaya dev up` starts one here; or set NAGAYA_TENANT_ADDRESS, NAGAYA_RUNS_ADDRESS, "
    "NAGAYA_ARTIFACTS_ADDRESS, NAGAYA_LLM_GATEWAY_ADDRESS and NAGAYA_TOKEN_FILE, "
    "or write a profile into {config}."
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know."""

    addresses: Mapping[str, str]
    """By service (`tenant`, `runs`, `artifacts`, `llm_gateway`): as `ServerAddress.parse` reads
    them, such as `host:port`, or `https://host:port` for TLS."""
    token: TokenSource
    tenant: str = ""
    """The tenant meant where a command is given none."""
    ca_file: Path | None = None
    """Certificates to trust, in PEM; those of the system's when absent."""
    certificate: KeyPair | None = None
    """What servers are shown that ask who calls, beside the token."""
    timeout_seconds: float | None = None
    """How long one call may take; as the contract says when None. Does not cut watches."""

    def address(self, service: str) -> str:
        """Return the address of a service. Raises SettingsInvalid when it is not known."""
        address = self.addresses.get(service)
        if not address:
            raise SettingsInvalid(
                f"the address of the {service.replace('_', '-')} service is not known",
                f"Set NAGAYA_{service.upper()}_ADDRESS to its host:port.",
            )
        return address


def read_settings(
    flags: Mapping[str, str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read the settings. Raises SettingsInvalid when there is neither address nor token.

    `flags` holds what the caller says itself: `profile`, `address` (of all services),
    `tenant_address` and so on, `token`, `token_file`, `tenant`, `ca_file`.
    """
    where = _Sources.of(flags, environment)
    layers, local = where.layers, _local_stack(folder or Path.cwd())
    addresses = _addresses([*layers, local])
    if not addresses:
        raise SettingsInvalid("no Nagaya found", _NOWHERE.format(config=where.config))
    return Settings(
        addresses,
        _token(where, local, tuple(addresses.values())),
        tenant=_nearest(layers, "tenant"),
        ca_file=_ca_file(layers, local),
        certificate=_certificate(layers),
    )


def read_login_settings(
    flags: Mapping[str, str] | None = None, *, environment: Mapping[str, str] | None = None
) -> tuple[LoginSettings, SavedLogin]:
    """Read where one logs in, and where the login is kept. Raises SettingsInvalid.

    Where no issuer is named it is as in the login that is kept there.
    """
    where = _Sources.of(flags, environment)
    layers = list(where.layers)
    if not _nearest(layers, "oidc_issuer") and (before := where.login.settings()):
        layers.append({f"oidc_{key}": str(getattr(before, key)) for key in _LOGIN})
    found = {key: _nearest(layers, f"oidc_{key}") for key in _LOGIN}
    if not (found["issuer"] and found["client_id"]):
        raise SettingsInvalid(
            "it is not known where to log in",
            "--issuer and --client-id name your OpenID Connect provider and a client of it "
            "without a secret, as do NAGAYA_OIDC_ISSUER and NAGAYA_OIDC_CLIENT_ID, or the keys "
            f"oidc_issuer and oidc_client_id of a profile in {where.config}.",
        )
    ca_file = found["ca_file"] and str(Path(found["ca_file"]).expanduser().absolute())
    return LoginSettings(**found | {"ca_file": ca_file}), where.login


def read_login(
    flags: Mapping[str, str] | None = None, *, environment: Mapping[str, str] | None = None
) -> SavedLogin:
    """Return where the login of a profile is kept. Raises SettingsInvalid."""
    return _Sources.of(flags, environment).login


def local_stack_settings(folder: Path) -> Settings:
    """Return the settings of the local stack alone. Raises SettingsInvalid when there is none."""
    local = _local_stack(folder)
    if not local:
        raise SettingsInvalid("no local stack found", "`nagaya dev up` starts one.")
    ca_file = Path(local["ca_file"]) if local["ca_file"] else None
    return Settings(_addresses([local]), Token(file=Path(local["token_file"])), ca_file=ca_file)


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where settings come from, apart from the local stack."""

    layers: Sequence[Mapping[str, str]]
    """The nearest first."""
    config: Path
    login: SavedLogin

    @classmethod
    def of(cls, flags: Mapping[str, str] | None, environment: Mapping[str, str] | None) -> _Sources:
        given = {key: value for key, value in (flags or {}).items() if value}
        if environment is None:
            environment = os.environ  # noqa: TID251 - the one place
        folder = _config_folder(environment)
        config = folder / "config.toml"
        name = given.pop("profile", "") or environment.get("NAGAYA_PROFILE", "")
        profile = profiles.read_profile(config, name, ("address", *KEYS))
        login = folder / "logins" / f"{quote(name or profiles.DEFAULT, safe='')}.json"
        layers = [_spread(given), _from_environment(environment), _spread(profile)]
        return cls(layers, config, SavedLogin(login))


def _addresses(layers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    found = {service: _nearest(layers, f"{service}_address") for service in SERVICES}
    for address in found.values():
        if address:
            _check_address(address)
    return {service: address for service, address in found.items() if address}


def _check_address(address: str) -> None:
    try:
        ServerAddress.parse(address)
    except ValueError as error:
        hint = "Write HOST:PORT, or https://HOST:PORT for TLS."
        raise SettingsInvalid(f"the address {address} {error}", hint) from None


def _ca_file(layers: Sequence[Mapping[str, str]], local: Mapping[str, str]) -> Path | None:
    given = _nearest(layers, "ca_file")
    if given:
        return Path(given).expanduser()
    # The local stack's own authority is trusted for this machine only.
    elsewhere = [a for a in _addresses(layers).values() if ServerAddress.parse(a).tls is not None]
    own = local.get("ca_file", "")
    return Path(own) if own and all(map(_is_here, elsewhere)) else None


def _certificate(layers: Sequence[Mapping[str, str]]) -> KeyPair | None:
    cert_file, key_file = _nearest(layers, "tls_cert_file"), _nearest(layers, "tls_key_file")
    if bool(cert_file) != bool(key_file):
        raise SettingsInvalid(
            "a certificate and its private key belong together",
            "Set NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE, or neither.",
        )
    if not cert_file:
        return None
    return KeyPair(Path(cert_file).expanduser(), Path(key_file).expanduser())


def _nearest(layers: Sequence[Mapping[str, str]], key: str) -> str:
    return next((layer[key] for layer in layers if layer.get(key)), "")


def _token(where: _Sources, local: Mapping[str, str], addresses: Sequence[str]) -> TokenSource:
    for layer in where.layers:
        if layer.get("token"):
            return Token(layer["token"])
        if layer.get("token_file"):
            return Token(file=Path(layer["token_file"]).expanduser())
    # Of the local stack alone, a login elsewhere is none.
    if where.login.exists() and _addresses(where.layers):
        return where.login
    # The local stack's token goes nowhere but to this machine.
    if local and all(map(_is_here, addresses)):
        return Token(file=Path(local["token_file"]))
    only_here = "The local stack's own token is sent to this machine only. " if local else ""
    raise SettingsInvalid(
        "no token found",
        f"{only_here}`nagaya login` logs you in at your identity provider; or set "
        "NAGAYA_TOKEN_FILE to a file that holds your token, or NAGAYA_TOKEN.",
    )


def _is_here(text: str) -> bool:
    try:
        address = ServerAddress.parse(text)
    except ValueError:
        return False
    # Of a name for several servers, whoever answers for the name says where it leads.
    return not address.balanced and address.host in _LOOPBACK


def _spread(given: Mapping[str, str]) -> dict[str, str]:
    """One `address` stands for all services behind it."""
    rest = dict(given)
    one = rest.pop("address", "")
    return ({key: one for key in _ADDRESSES} if one else {}) | rest


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: environment.get(f"NAGAYA_{key.upper()}", "") for key in KEYS}


def _config_folder(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path("~/.config").expanduser()) / "nagaya"


def _local_stack(folder: Path) -> dict[str, str]:
    """Return what the stack of the clone that `folder` lies in tells; nothing if there is none.

    It is this user's, and runs on this machine: else whoever leaves such a file in a folder that
    several people use would be sent their tokens.
    """
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        endpoints = parent / _ENDPOINTS
        if endpoints.is_file() and endpoints.lstat().st_uid == os.getuid():
            lines = (line.partition("=") for line in endpoints.read_text().splitlines())
            found = _from_environment({name: value for name, _, value in lines})
            token_file = endpoints.parent / "tokens" / "operator.jwt"
            kept = {key: found[key] for key in (*_ADDRESSES, "ca_file")}
            if all(_is_here(kept[key]) for key in _ADDRESSES if kept[key]):
                return kept | {"token_file": str(token_file)}
    return {}
