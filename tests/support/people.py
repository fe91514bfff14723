"""A stack whose people have tokens of an OpenID Connect provider, and no others."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.certificates import LOOPBACK, CertificateFiles
from tests.support.npm_oidc_provider import NpmOidcProvider
from tests.support.oidc_login import tokens_of_person

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class People:
    """The provider of the people of a stack: where it is, and whom its own certificate is of."""

    url: str
    ca_file: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What `nagaya dev up` is told: the services trust this provider and nobody else."""
        login = ("-m", "tests.support.oidc_login", self.url, str(self.ca_file))
        command = ("env", f"PYTHONPATH={_ROOT}", sys.executable, *login)
        return {
            "NAGAYA_OIDC_ISSUER": self.url,
            "NAGAYA_OIDC_CA_FILE": str(self.ca_file),
            "NAGAYA_DEV_TOKEN_COMMAND": shlex.join(command),
        }

    async def token(self, login: str, scope: str, **asked: str) -> str:
        """Return the token of a person who logs in; `resource` may be another than Nagaya."""
        tokens = await tokens_of_person(self.url, login, scope, self.ca_file, **asked)
        return tokens["access_token"]


@contextmanager
def running_people(folder: Path) -> Generator[People]:
    """Run the provider by TLS, with a certificate of an authority of its own."""
    files = CertificateFiles(folder, "people")
    provider = NpmOidcProvider(folder, files.issue("provider", *LOOPBACK))
    with provider.installed():
        provider.start("one", "RS256")
        yield People(provider.url, files.ca_file)
