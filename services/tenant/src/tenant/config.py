"""The settings of the tenant service, read from the environment once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from authentication.oidc.config import OidcConfig
from servicekit import settings
from servicekit.settings import Environment, ServerConfig
from tenant.backup_config import NO_BACKUPS, BackupConfig
from tenant.database_tls import DatabaseTls
from tenant.key_config import AwsKmsConfig, VaultConfig, key_management, key_ring_file
from tls.address import ServerAddress

MIGRATIONS = Path(__file__).parent / "migrations"
_DEFAULT_PORT = 5432
_SERVICES = ("runs", "artifacts", "llm-gateway")
_MANAGEMENT_NAME = re.compile(r"[a-z_][a-z0-9_]{0,37}")


class RolloutMode(StrEnum):
    """How a publication reaches the tenants."""

    AT_ONCE = "at-once"
    WAVES = "waves"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ProvisionerAddress:
    """How the provisioner logs in to a server, and the database that it connects to there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def parse(cls, url: str) -> ProvisionerAddress:
        """Read `postgresql://user:password@host:port/database`. Raises ValueError."""
        parts = urlsplit(url)
        name = unquote(parts.path.removeprefix("/"))
        if (
            parts.scheme not in ("postgresql", "postgres")
            or not parts.hostname
            or not parts.username
        ):
            raise ValueError("it is not postgresql://user:password@host:port/database")
        if parts.query:
            raise ValueError("it has parameters; TLS is set by PGSSLMODE and its like")
        port = parts.port or _DEFAULT_PORT
        user, password = unquote(parts.username), unquote(parts.password or "")
        return cls(parts.hostname, port, user, password, name)

    @property
    def url(self) -> str:
        """What `parse` reads."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user, password, name = (quote(x, "") for x in (self.user, self.password, self.database))
        return f"postgresql://{user}:{password}@{host}:{self.port}/{name}"


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """Where bundles of tenants are kept, and for how long."""

    folder: Path | None = None
    hours: float = 24.0

    @classmethod
    def from_environment(cls, environment: Environment) -> TransferConfig:
        folder = environment.text(
            "NAGAYA_TRANSFER_FOLDER",
            "where bundles lie that were exported or uploaded, one folder for all processes of the "
            "service; without it nothing is exported or imported",
            default="",
        )
        hours = environment.integer(
            "NAGAYA_TRANSFER_HOURS",
            "how long bundles are kept there",
            default=24,
            least=1,
            most=8760,
        )
        return cls(Path(folder) if folder else None, hours)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the process."""

    server: ServerConfig
    database: ProvisionerAddress
    key_ring_file: Path | None
    """None where a key management service is used, and has been from the start."""
    required_services: tuple[str, ...]
    connections_per_role: int
    processes_per_service: int
    audit_anchor_seconds: float = 15.0
    audit_anchor_folder: Path | None = None
    backups: BackupConfig = NO_BACKUPS
    database_tls: DatabaseTls = field(default_factory=DatabaseTls)
    rollout_on_publish: RolloutMode = RolloutMode.AT_ONCE
    deleted_tenant_days: int = 30
    operation_days: int = 90
    repair_seconds: int = 0
    peers: dict[str, ServerAddress] = field(default_factory=dict[str, ServerAddress])
    """The addresses of the other services that are known, by name."""
    key_management: VaultConfig | AwsKmsConfig | None = None
    transfers: TransferConfig = TransferConfig()
    oidc: OidcConfig | None = None

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> Config:
        return cls(
            server=(server := ServerConfig.from_environment(environment)),
            oidc=OidcConfig.from_environment(environment, server),
            database=_database(environment),
            key_ring_file=(ring := key_ring_file(environment)),
            required_services=_required_services(environment),
            connections_per_role=environment.integer(
                "NAGAYA_CONNECTIONS_PER_ROLE",
                "how many connections a service's role may hold to a database, in all processes",
                default=20,
                least=1,
                most=1000,
            ),
            processes_per_service=environment.integer(
                "NAGAYA_PROCESSES_PER_SERVICE",
                "among how many processes of a service these are shared out: its replicas, "
                "workers, and those that a deployment starts before it ends the old ones",
                default=2,
                least=1,
                most=1000,
            ),
            audit_anchor_seconds=environment.seconds(
                "NAGAYA_AUDIT_ANCHOR_SECONDS",
                "how often the audit logs that have grown are anchored",
                default=15.0,
            ),
            audit_anchor_folder=_folder(environment),
            backups=(backups := BackupConfig.from_environment(environment)),
            database_tls=DatabaseTls.from_environment(environment),
            deleted_tenant_days=_deleted_tenant_days(environment),
            operation_days=_operation_days(environment),
            repair_seconds=_repair_seconds(environment),
            peers=_peers(environment, backups.artifacts_address),
            rollout_on_publish=_rollout_mode(environment),
            key_management=key_management(environment, ring),
            transfers=TransferConfig.from_environment(environment),
        )


def _deleted_tenant_days(environment: Environment) -> int:
    return environment.integer(
        "NAGAYA_DELETED_TENANT_DAYS",
        "how long a deleted tenant is kept before it is purged, unless DeleteTenant says",
        default=30,
        most=3650,
    )


def _operation_days(environment: Environment) -> int:
    return environment.integer(
        "NAGAYA_OPERATION_DAYS",
        "how long an operation is kept once it is done or cancelled, and its `request_id` finds "
        "it; 0 for ever. Those that have failed, purges and rollouts are kept",
        default=90,
        most=36_500,
    )


def _repair_seconds(environment: Environment) -> int:
    return environment.integer(
        "NAGAYA_REPAIR_SECONDS",
        "how often the service looks for what belongs to no tenant, and removes what certainly "
        "nobody wants, as `nagaya tenant doctor` does; 0 for never",
        default=300,
        most=86_400,
    )


def _peers(environment: Environment, artifacts: ServerAddress | None) -> dict[str, ServerAddress]:
    peers = {"artifacts": artifacts}
    for service in ("runs", "llm-gateway"):
        peers[service] = environment.optional_peer(
            f"NAGAYA_{service.replace('-', '_').upper()}_ADDRESS",
            f"{service}, `host:port` or `https://host:port`; without it no tenant is purged",
        )
    return {service: address for service, address in peers.items() if address is not None}


def _folder(environment: Environment) -> Path | None:
    text = environment.text(
        "NAGAYA_AUDIT_ANCHOR_FOLDER",
        "a folder to which anchors of all audit logs are written too, best on a disk that the "
        "database servers' administrators cannot change",
        default="",
    )
    return Path(text) if text else None


def _database(environment: Environment) -> ProvisionerAddress:
    url = environment.secret(
        "NAGAYA_PG_URL",
        "`postgresql://role:password@host:port/database`: the provisioner, and the management "
        "database, which it owns; TLS by `PGSSLMODE` and its like",
    )
    try:
        return management_address(url)
    except ValueError as error:
        if url:
            environment.refuse(f"NAGAYA_PG_URL: {error}")
        return ProvisionerAddress("", 0, "", "", "")


def management_address(url: str) -> ProvisionerAddress:
    """Read the address of the management database. Raises ValueError."""
    address = ProvisionerAddress.parse(url)
    if not _MANAGEMENT_NAME.fullmatch(address.database):
        raise ValueError(
            f"the database {address.database!r} is not lower-case letters, digits and _"
        )
    if address.database == address.user:
        raise ValueError("the database has the role's name, which is kept for its group role")
    return address


def _rollout_mode(environment: Environment) -> RolloutMode:
    text = environment.text(
        "NAGAYA_ROLLOUT_ON_PUBLISH",
        "how migrations that a service publishes reach the tenants: `at-once`, before it serves; "
        "`waves`, by a rollout that begins then; `none`, by CreateRollout only",
        default=RolloutMode.AT_ONCE.value,
    )
    if text not in [mode.value for mode in RolloutMode]:
        environment.refuse(
            f"NAGAYA_ROLLOUT_ON_PUBLISH: {text!r} is none of {', '.join(RolloutMode)}"
        )
        return RolloutMode.AT_ONCE
    return RolloutMode(text)


def _required_services(environment: Environment) -> tuple[str, ...]:
    text = environment.text(
        "NAGAYA_REQUIRED_SERVICES",
        "who must have published before a tenant can be created",
        default=",".join(_SERVICES),
    )
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in _SERVICES:
            environment.refuse(
                f"NAGAYA_REQUIRED_SERVICES: {name!r} is none of {', '.join(_SERVICES)}"
            )
    return names
