"""The settings of where the keys are that protect secrets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from servicekit.settings import Environment


@dataclass(frozen=True, slots=True)
class VaultConfig:
    """A key of a transit engine of HashiCorp Vault."""

    address: str
    mount: str
    key_name: str
    token_file: Path
    namespace: str


@dataclass(frozen=True, slots=True)
class AwsKmsConfig:
    """A key of AWS KMS."""

    region: str
    key_id: str
    endpoint: str


def key_ring_file(environment: Environment) -> Path | None:
    return environment.optional_private_file(
        "NAGAYA_KEYRING_FILE",
        "the key ring that encrypts passwords, mode 0600, read again when it changes; needed "
        "unless NAGAYA_KEY_MANAGEMENT names a service",
    )


def key_management(
    environment: Environment, key_ring_file: Path | None
) -> VaultConfig | AwsKmsConfig | None:
    """Read where the key is that protects secrets; None for a file."""
    kind = environment.text(
        "NAGAYA_KEY_MANAGEMENT",
        "where the key is that protects secrets: `file` (NAGAYA_KEYRING_FILE), `vault` or `aws`",
        default="file",
    )
    vault, aws = _vault(environment), _aws(environment)
    match kind:
        case "vault":
            need(environment, "NAGAYA_VAULT_ADDRESS", vault.address)
            need(environment, "NAGAYA_VAULT_KEY", vault.key_name)
            need(environment, "NAGAYA_VAULT_TOKEN_FILE", vault.token_file.name)
            return vault
        case "aws":
            need(environment, "AWS_REGION", aws.region)
            need(environment, "NAGAYA_AWS_KMS_KEY", aws.key_id)
            return aws
        case "file":
            need(environment, "NAGAYA_KEYRING_FILE", str(key_ring_file or ""))
            return None
        case _:
            environment.refuse(f"NAGAYA_KEY_MANAGEMENT={kind}: not file, vault or aws")
            return None


def _vault(environment: Environment) -> VaultConfig:
    token_file = environment.optional_private_file(
        "NAGAYA_VAULT_TOKEN_FILE", "holds the token, mode 0600; read for each call"
    )
    return VaultConfig(
        _https(environment, "NAGAYA_VAULT_ADDRESS", "`https://host:port` of HashiCorp Vault"),
        environment.text(
            "NAGAYA_VAULT_MOUNT", "where its transit engine is mounted", default="transit"
        ),
        environment.text("NAGAYA_VAULT_KEY", "the name of the transit key", default=""),
        token_file or Path(),
        environment.text("NAGAYA_VAULT_NAMESPACE", "its namespace, if it has any", default=""),
    )


def _aws(environment: Environment) -> AwsKmsConfig:
    return AwsKmsConfig(
        environment.text("AWS_REGION", "the region of the key in AWS KMS", default=""),
        environment.text(
            "NAGAYA_AWS_KMS_KEY",
            "the key's id, ARN or alias; credentials are looked for as AWS's tools do",
            default="",
        ),
        _https(environment, "NAGAYA_AWS_KMS_ENDPOINT", "replaces AWS's own address of KMS"),
    )


def _https(environment: Environment, name: str, meaning: str) -> str:
    """Read an address to which keys are sent: only this machine is trusted without TLS."""
    address = environment.text(name, meaning, default="")
    parts = urlsplit(address)
    is_here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if address and not (parts.scheme == "https" or (parts.scheme == "http" and is_here)):
        environment.refuse(f"{name}={address}: it is not https://host:port")
    return address


def need(environment: Environment, name: str, value: str) -> None:
    if not value:
        environment.refuse(f"{name} is not set: it is needed for this NAGAYA_KEY_MANAGEMENT")
