"""The file of addresses for clients, tests and people: `var/dev/endpoints.env`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagaya_local.machine import files
from tls.config import ClientTls

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where everything is. The four services are reached through Envoy."""

    tenant: str
    runs: str
    artifacts: str
    llm_gateway: str
    pg_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    temporal: str
    llmstub_url: str
    ca_file: str = ""
    """Whom `https://` addresses of services are trusted by; empty for the system's."""

    @property
    def client_tls(self) -> ClientTls:
        """How services at `https://` addresses are verified."""
        return ClientTls(Path(self.ca_file) if self.ca_file else None)

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner only: it holds passwords."""
        lines = (f"{_NAMES[field]}={getattr(self, field)}\n" for field in _NAMES)
        files.write_private(path, "".join(lines))

    @classmethod
    def read(cls, path: Path) -> Endpoints:
        """Read the file. Raises FileNotFoundError before the first `up`."""
        lines = path.read_text().splitlines()
        found: Mapping[str, str] = dict(line.split("=", 1) for line in lines if "=" in line)
        return cls(**{field: found[name] for field, name in _NAMES.items() if name in found})


_NAMES = {
    "tenant": "NAGAYA_TENANT_ADDRESS",
    "runs": "NAGAYA_RUNS_ADDRESS",
    "artifacts": "NAGAYA_ARTIFACTS_ADDRESS",
    "llm_gateway": "NAGAYA_LLM_GATEWAY_ADDRESS",
    "pg_url": "NAGAYA_PG_URL",
    "s3_endpoint": "S3_ENDPOINT",
    "s3_access_key": "S3_ACCESS_KEY",
    "s3_secret_key": "S3_SECRET_KEY",
    "temporal": "TEMPORAL_ADDRESS",
    "llmstub_url": "LLMSTUB_URL",
    "ca_file": "NAGAYA_CA_FILE",
}
