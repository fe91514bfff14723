"""The file that says which permissions the groups of an issuer have."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, cast

from authentication.watched_file import WatchedFile

if TYPE_CHECKING:
    from pathlib import Path

    from authentication.claims import Groups

_PERMISSION = re.compile(r"\*|[a-z_]+\.(\*|[a-z_]+)")
_log = logging.getLogger(__name__)


def watch_groups(path: Path) -> WatchedFile[Groups]:
    """Return the permissions of groups. Raises StartRefused when the file does not tell them."""
    return WatchedFile(path, _read, "permissions of groups", _log_failure)


def _read(content: bytes) -> Groups:
    try:
        groups: object = json.loads(content)
    except RecursionError:
        raise ValueError("it is no JSON") from None
    if not isinstance(groups, dict):
        raise ValueError('it is no JSON object: {"group": ["runs.read"]}')
    return {
        group: _permissions(group, of) for group, of in cast("dict[str, object]", groups).items()
    }


def _permissions(group: str, listed: object) -> frozenset[str]:
    names = cast("list[object]", listed) if isinstance(listed, list) else [None]
    for name in names:
        if not isinstance(name, str) or not _PERMISSION.fullmatch(name):
            raise ValueError(f"{group}: not a list of permissions, such as runs.read, runs.* or *")
    return frozenset(cast("list[str]", names))


def _log_failure(why: str) -> None:
    _log.error(
        "the file of groups' permissions cannot be read",
        extra={"event": "groups.read_failed", "why": why},
    )
