"""Tokens: who calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from nagaya_client.errors import SettingsInvalid

if TYPE_CHECKING:
    from pathlib import Path


class TokenSource(Protocol):
    """Gives the token of each call."""

    async def read(self) -> str:
        """Return the token. Raises NagayaError when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """Who calls: a token, or the file that holds it, read anew for every call."""

    text: str = field(default="", repr=False)
    file: Path | None = None

    async def read(self) -> str:
        """Return the token. Raises SettingsInvalid when its file cannot be read."""
        if self.file is None:
            return self.text
        try:
            text = self.file.read_text().strip()
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it holds no text"
            raise SettingsInvalid(
                f"the token file {self.file} cannot be read: {why}",
                "Set NAGAYA_TOKEN_FILE to a file that holds your token.",
            ) from None
        if text and not (text.isascii() and text.isprintable()):
            raise SettingsInvalid(
                f"the token file {self.file} holds no token", "A token is one line of ASCII."
            )
        if text:
            return text
        raise SettingsInvalid(f"the token file {self.file} is empty", "Write your token into it.")
