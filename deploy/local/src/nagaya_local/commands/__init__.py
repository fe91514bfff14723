"""What a person can ask of the stack; `report` hears one line after the other."""

from __future__ import annotations

from nagaya_local.commands.starting import clean, down, logs, status, up

__all__ = ["clean", "down", "logs", "status", "up"]
