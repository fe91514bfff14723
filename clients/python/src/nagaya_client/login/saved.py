"""A login kept in a file that only its owner may read, and renewed before its token expires."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class SavedLogin:
    """The login in a file."""

    file: Path

    def exists(self) -> bool:
        return self.file.is_file()

    def settings(self) -> LoginSettings | None:
        """Return where one logged in; None where nobody did, or the file is damaged."""
        try:
            return self._load()[0]
        except LoginFailed:
            return None

    def save(self, settings: LoginSettings, grant: Grant) -> None:
        """Keep a login in place of the one before, mode 0600."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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

    def read(self) -> str:
        """Return the token, renewed where it is about to expire.

        Waits for the provider, and for another process that renews it. Raises LoginFailed.
        """
        _, grant = self._load()
        if time.time() < grant.renew_time:
            return grant.access_token
        with self._locked():
            settings, grant = self._load()  # another process may have renewed it
            if time.time() < grant.renew_time:
                return grant.access_token
            return self._renewed(settings, grant).access_token

    def forget(self) -> None:
        """Withdraw what renews the token, and delete the file.

        Raises LoginFailed when the provider could not be told; the file is deleted all the same.
        """
        with self._locked():
            try:
                settings, grant = self._load()
            finally:
                self.file.unlink(missing_ok=True)
        if grant.refresh_token:
            from nagaya_client.login.issuer import Issuer  # noqa: PLC0415 - see _renewed

            Issuer(settings).revoke(grant.refresh_token)

    def _renewed(self, settings: LoginSettings, grant: Grant) -> Grant:
        valid = time.time() < grant.expire_time
        if not grant.refresh_token:
            if valid:
                return grant
            raise LoginFailed(f"the login at {settings.issuer} has expired", _AGAIN)
        # Most commands need no HTTP, and start sooner without it.
        from nagaya_client.login.issuer import Issuer, IssuerRefused  # noqa: PLC0415

        form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
        try:
            new = Issuer(settings).token(form)
        except LoginFailed as failed:
            if failed.transient and valid:
                return grant
            if failed.transient or not isinstance(failed, IssuerRefused):
                raise
            ended = f"the login at {settings.issuer} has ended ({failed.error})"
            raise LoginFailed(ended, _AGAIN) from None
        kept = replace(new, refresh_token=new.refresh_token or grant.refresh_token)
        self.save(settings, kept)
        return kept

    def _load(self) -> tuple[LoginSettings, Grant]:
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
