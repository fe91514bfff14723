"""A login kept in a file that only its owner may read, and renewed before its token expires."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from nagaya_client.errors import LoginFailed
from nagaya_client.login.grant import Grant, LoginSettings

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_AGAIN = "`nagaya login` logs you in."
_PAUSE_SECONDS = 10.0
"""How long a provider that could not renew a token is left alone while the token is valid."""


@dataclass(frozen=True, slots=True)
class SavedLogin:
    """The login in a file."""

    file: Path

    def exists(self) -> bool:
        return self.file.is_file()

    def settings(self) -> LoginSettings | None:
        """Return where one logged in; None where nobody did, or the file is damaged."""
        try:
            return self.load()[0]
        except LoginFailed:
            return None

    def save(self, settings: LoginSettings, grant: Grant) -> None:
        """Keep a login in place of the one before, mode 0600. Waits for a renewal under way."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            self._write(settings, grant)

    def _write(self, settings: LoginSettings, grant: Grant) -> None:
        draft = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        content = json.dumps({"settings": asdict(settings), "grant": asdict(grant)}, indent=2)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as opened:
                opened.write(content + "\n")
            draft.replace(self.file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    async def read(self) -> str:
        """Return the token, renewed where it is about to expire.

        Waits for the provider, and for another process that renews it, in a thread of its own.
        Raises LoginFailed.
        """
        _, grant = self.load()
        if grant.is_fresh():
            return grant.access_token
        return await asyncio.to_thread(self._renew)

    def forget(self) -> None:
        """Withdraw what renews the token, and delete the file.

        Raises LoginFailed when the provider could not be told; the file is deleted all the same.
        """
        with self._locked():
            try:
                settings, grant = self.load()
            finally:
                self.file.unlink(missing_ok=True)
        if grant.refresh_token:
            from nagaya_client.login.issuer import Issuer  # noqa: PLC0415 - see _renewed

            Issuer(settings).revoke(grant.refresh_token)

    def _renew(self) -> str:
        with self._locked():
            settings, grant = self.load()  # another process may have renewed it
            if not grant.is_fresh():
                grant = self._renewed(settings, grant)
                self._write(settings, grant)
            return grant.access_token

    def _renewed(self, settings: LoginSettings, grant: Grant) -> Grant:
        if not grant.refresh_token:
            raise LoginFailed(f"the login at {settings.issuer} has expired", _AGAIN)
        # Most commands need no HTTP, and start sooner without it.
        from nagaya_client.login.issuer import Issuer, IssuerRefused  # noqa: PLC0415

        form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
        try:
            new = Issuer(settings).token(form)
        except LoginFailed as failed:
            if failed.transient and time.time() < grant.expire_time:
                return replace(grant, renew_time=time.time() + _PAUSE_SECONDS)
            if failed.transient or not isinstance(failed, IssuerRefused):
                raise
            ended = f"the login at {settings.issuer} has ended ({failed.error})"
            raise LoginFailed(ended, _AGAIN) from None
        return replace(new, refresh_token=new.refresh_token or grant.refresh_token)

    def load(self) -> tuple[LoginSettings, Grant]:
        try:
            content: Any = json.loads(self.file.read_text())
            return LoginSettings(**content["settings"]), Grant(**content["grant"])
        except OSError as error:
            raise LoginFailed(f"{self.file} cannot be read: {error.strerror}", _AGAIN) from None
        except (ValueError, KeyError, TypeError):
            raise LoginFailed(f"{self.file} holds no login", _AGAIN) from None

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Hold off others that would renew it: a provider takes what renews it only once."""
        descriptor = os.open(self.file.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
