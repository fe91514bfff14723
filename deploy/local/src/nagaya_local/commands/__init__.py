"""What a person can ask of the stack; `report` hears one line after the other."""

from __future__ import annotations

from nagaya_local.commands.ending import clean, down
from nagaya_local.commands.following import logs, status
from nagaya_local.commands.starting import up

__all__ = ["clean", "down", "logs", "status", "up"]
