"""docs/settings.md: the settings of each process, as its configuration reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from docs.tables import table

import artifacts.config
import llm_gateway.config
import runs.config
import runs.temporal_config
import tenant.config
from authentication.oidc.config import OidcConfig
from nagaya_client.settings import KEYS
from nagaya_local.clone.choices import Choices
from servicekit.settings import Environment, ServerConfig, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = """\
# Settings

Made by `make docs` from the code that reads them.

All settings are environment variables. What is missing or cannot be read is reported together, and
the process does not start.

A secret is given in its variable, or in a file that the variable with `_FILE` at its end names;
both at once is refused. A file with a secret, or a private key, is refused where others than its
owner may read it (mode 0600 or less). Two exceptions, for files that belong to root: its group may
read it (0640), and all may read it where it is mounted in memory and read-only, as Kubernetes,
Docker Swarm and systemd hand secrets to a process. Secrets are read at the start, unless their line
says more.
"""
_LLMSTUB = """\
## llmstub

It reads none: [its options](../libs/llmstub/README.md) say everything.
"""


def page() -> str:
    """Return the text of docs/settings.md."""
    head = ("variable", "default", "meaning")
    parts = [_HEAD]
    for heading, found in settings().items():
        rows = ((f"`{one.name}`", _default(one.default), one.meaning) for one in found)
        parts += [f"## {heading}\n", table(head, rows)]
    return "\n".join([*parts, _LLMSTUB])


def settings() -> dict[str, list[Setting]]:
    """Return the settings of each process, by the heading of its table."""
    common = _read(ServerConfig.from_environment)
    processes: dict[str, Callable[[Environment], object]] = {
        "tenant: `python -m tenant`": tenant.config.Config.from_environment,
        "runs: `python -m runs`": runs.config.Config.from_environment,
        "The worker of runs: `python -m runs.worker`": runs.config.WorkerConfig.from_environment,
        "The auditor of histories: `python -m runs.auditor`": (
            runs.temporal_config.TemporalConfig.from_environment
        ),
        "artifacts: `python -m artifacts`": artifacts.config.Config.from_environment,
        "llm-gateway: `python -m llm_gateway`": llm_gateway.config.Config.from_environment,
    }
    people = [setting for setting in _read(_people) if setting not in common]
    own = {
        heading: [one for one in _read(of) if one not in common and one not in people]
        for heading, of in processes.items()
    }
    client = [Setting(f"NAGAYA_{key.upper()}", meaning, "") for key, meaning in KEYS.items()]
    local = _read(lambda environment: Choices.from_environment(environment, {}, ()))
    return {
        "Every service and the worker": common,
        "People's tokens: every service": people,
        **own,
        "The Python client and `nagaya`": [*client, *OTHER_SETTINGS["nagaya_client"]],
        "The one-machine stack: `nagaya dev`": [*local, *OTHER_SETTINGS["nagaya_local"]],
    }


OTHER_SETTINGS = {
    "nagaya_client": [
        Setting("NAGAYA_PROFILE", "which profile of `nagaya/config.toml` counts", "default"),
        Setting("XDG_CONFIG_HOME", "the folder in which that file is looked for", "~/.config"),
        Setting("GRPC_VERBOSITY", "what gRPC itself tells beside `nagaya`'s answers", "NONE"),
    ],
    "nagaya_local": [
        Setting(
            "SUDO_USER",
            "whom PostgreSQL runs as when root starts it where user namespaces are forbidden",
            "",
        ),
        Setting("NO_PROXY", "kept, and this machine added", ""),
        Setting("no_proxy", "the same", ""),
    ],
}
"""Variables that are read without an Environment; a test holds them to the code."""


def _read(of: Callable[[Environment], object]) -> list[Setting]:
    environment = Environment({})
    of(environment)
    return environment.settings


def _people(environment: Environment) -> None:
    OidcConfig.from_environment(environment, ServerConfig.from_environment(environment))


def _default(value: object) -> str:
    if value is None:
        return "required"
    if value == Path():  # not set
        return ""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif isinstance(value, tuple):
        text = ":".join(map(str, cast("tuple[object, ...]", value)))
    else:
        text = str(value)
    return f"`{text}`" if text else ""
