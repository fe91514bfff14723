"""Profiles in `~/.config/nagaya/config.toml`: settings under a name."""

from __future__ import annotations

import difflib
import tomllib
from typing import TYPE_CHECKING, cast

from nagaya_client.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

DEFAULT = "default"


def read_profile(config: Path, name: str, known: Collection[str]) -> dict[str, str]:
    """Return what a profile says, the default one where `name` is empty.

    Raises SettingsInvalid when a profile that is named is absent, when the file cannot be read, and
    for a key that is not among the `known` ones.
    """
    if not config.exists():
        if name:
            raise SettingsInvalid(f"there is no profile {name!r}", f"Write it into {config}.")
        return {}
    try:
        content = tomllib.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"{config} cannot be read: {error}") from None
    profiles = _tables(content.get("profile"))
    if name and name not in profiles:
        names = ", ".join(profiles) or "none"
        raise SettingsInvalid(f"there is no profile {name!r}", f"{config} has: {names}.")
    raw = profiles.get(name or DEFAULT, {})
    for key in raw:
        _check_key(config, key, known)
    return {key: str(value) for key, value in raw.items()}


def _tables(value: object) -> dict[str, dict[str, object]]:
    if not isinstance(value, dict):
        return {}
    named = cast("dict[str, object]", value)
    return {
        name: cast("dict[str, object]", table)
        for name, table in named.items()
        if isinstance(table, dict)
    }


def _check_key(config: Path, key: str, known: Collection[str]) -> None:
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
        raise SettingsInvalid(f"{config} has an unknown key {key!r}", hint)
