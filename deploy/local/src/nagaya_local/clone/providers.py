"""Providers of this machine: which are real, and which the stub plays."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nagaya_local.machine import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nagaya_local.clone.layout import Layout

_IDS = ("claude", "openai", "gemini")
_STUB_KEY = "stub-key"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of the catalogue, and where its row must point on this machine."""

    id: str
    api_base_url: str
    """Empty for the provider's own address."""
    real: bool


def write_providers(layout: Layout, stub_url: str, keys: Mapping[str, str]) -> None:
    """Write the gateway's key file and the list that `read_providers` reads."""
    providers = [
        Provider(name, "" if name in keys else stub_url, real=name in keys) for name in _IDS
    ]
    files.write_private(layout.providers, json.dumps([asdict(p) for p in providers]) + "\n")
    secrets = {name: keys.get(name, _STUB_KEY) for name in _IDS}
    files.write_private(keys_file(layout), json.dumps(secrets) + "\n")


def read_providers(layout: Layout) -> tuple[Provider, ...]:
    """Return the providers of the running stack; none before the first `up`."""
    if not layout.providers.exists():
        return ()
    return tuple(Provider(**raw) for raw in json.loads(layout.providers.read_text()))


def keys_file(layout: Layout) -> Path:
    """Return the gateway's file of provider keys."""
    return layout.keys / "provider-keys.json"
