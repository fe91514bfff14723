"""Commands on the stack; `report` is called with each line to print."""

from __future__ import annotations

from nagaya_local.commands.progress import logs
from nagaya_local.commands.report import status, status_lines
from nagaya_local.commands.start import up
from nagaya_local.commands.stop import clean, down

__all__ = ["clean", "down", "logs", "status", "status_lines", "up"]
