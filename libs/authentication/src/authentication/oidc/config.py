"""The settings of the issuer of people's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authentication.claims import ClaimMapping
from authentication.oidc.documents import is_trusted_address
from servicekit.identity import AUDIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from servicekit.settings import Environment, ServerConfig


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """An OpenID Connect issuer whose people may call, and what its claims mean."""

    issuer: str
    audience: str
    ca_file: Path | None
    mapping: ClaimMapping
    groups_file: Path | None

    @classmethod
    def from_environment(cls, environment: Environment, server: ServerConfig) -> OidcConfig | None:
        """Read the settings; None where people's tokens come from NAGAYA_TOKEN_ISSUER alone."""
        read = environment
        issuer = read.text(
            "NAGAYA_OIDC_ISSUER",
            "the OpenID Connect issuer of people's tokens, `https://…`, exactly as their `iss` has "
            "it; its keys are fetched from there",
            default="",
        )
        if issuer and not is_trusted_address(issuer):
            read.refuse(f"NAGAYA_OIDC_ISSUER={issuer}: not https://, nor http:// on this machine")
        if issuer and issuer == server.issuer:
            read.refuse("NAGAYA_OIDC_ISSUER and NAGAYA_TOKEN_ISSUER are the same: one is meant")
        config = cls(
            issuer=issuer,
            audience=read.text(
                "NAGAYA_OIDC_AUDIENCE", "the `aud` that its tokens must have", default=AUDIENCE
            ),
            ca_file=read.optional_path(
                "NAGAYA_OIDC_CA_FILE",
                "certificates to trust when its keys are fetched, in PEM, instead of the system's",
            ),
            mapping=_mapping(read),
            groups_file=read.optional_path(
                "NAGAYA_OIDC_GROUPS_FILE",
                'JSON, `{"editors": ["runs.*", "prompts.read"]}`: the permissions of its groups; '
                "read again when it changes",
            ),
        )
        if issuer:
            return config
        _check_without_issuer(config, read, server)
        return None


def _check_without_issuer(
    config: OidcConfig, environment: Environment, server: ServerConfig
) -> None:
    """Refuse to be without an issuer where nobody else issues tokens, or one was meant."""
    if not server.issuer:
        environment.refuse(
            "NAGAYA_OIDC_ISSUER is not set, nor NAGAYA_TOKEN_ISSUER: who issues people's tokens?"
        )
    if config != OidcConfig("", AUDIENCE, None, ClaimMapping(), None):
        environment.refuse(
            "NAGAYA_OIDC_ISSUER is not set: without it the other NAGAYA_OIDC_… settings do nothing"
        )


def _mapping(environment: Environment) -> ClaimMapping:
    standard = ClaimMapping()
    return ClaimMapping(
        user=environment.text(
            "NAGAYA_OIDC_USER_CLAIM",
            "the claim that says who calls; a claim within another by a JSON pointer: `/a/b`",
            default=standard.user,
        ),
        tenants=environment.text(
            "NAGAYA_OIDC_TENANTS_CLAIM",
            "the claim with the list of tenants; `*` in it is all",
            default=standard.tenants,
        ),
        tenant_prefix=environment.text(
            "NAGAYA_OIDC_TENANT_PREFIX", "with what tenants begin there", default=""
        ),
        permissions=tuple(
            environment.text(
                "NAGAYA_OIDC_PERMISSIONS_CLAIM",
                "the claims with permissions, by spaces: each a list, or a text with spaces",
                default=" ".join(standard.permissions),
            ).split()
        ),
        permission_prefix=environment.text(
            "NAGAYA_OIDC_PERMISSION_PREFIX", "with what permissions begin there", default=""
        ),
        groups=environment.text(
            "NAGAYA_OIDC_GROUPS_CLAIM",
            "the claim with the list of groups, for NAGAYA_OIDC_GROUPS_FILE",
            default=standard.groups,
        ),
    )
