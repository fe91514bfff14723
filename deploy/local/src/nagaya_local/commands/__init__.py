"""What a person can ask of the stack; `report` is called with each line to print."""

from __future__ import annotations

from nagaya_local.commands.ending import clean, down
from nagaya_local.commands.following import logs
from nagaya_local.commands.starting import up
from nagaya_local.commands.status import status, status_lines

__all__ = ["clean", "down", "logs", "status", "status_lines", "up"]
