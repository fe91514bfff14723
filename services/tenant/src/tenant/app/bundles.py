"""Uploaded bundles, as operations read them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from bundle import signature
from bundle.errors import BundleInvalid
from bundle.source import TarSource
from bundle.verify import read_manifest, verify
from tenant.errors.transfers import BundleRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bundle.manifest import Manifest
    from bundle.verify import Verified
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
    from tenant.transfer.folder import TransferFolder


class Bundles:
    """The uploaded bundles, as operations read them."""

    def __init__(self, folder: TransferFolder, own_jwks: Path, begun: Operations) -> None:
        self._folder = folder
        self._own_jwks = own_jwks
        self._operations = begun

    def source(self, operation: Operation) -> TarSource:
        """Return an operation's bundle. Raises BundleNotFound."""
        return TarSource(self._folder.upload(_bundle_id(operation)))

    def manifest(self, operation: Operation) -> Manifest:
        """Return the manifest of an operation's bundle. Raises BundleNotFound, BundleRefused."""
        try:
            return read_manifest(self.source(operation), self._check(operation))
        except BundleInvalid as error:
            raise BundleRefused(error.fault, error.entry, error.problem) from None

    async def verify(self, operation: Operation) -> Manifest:
        """Verify everything that is in the bundle. Raises BundleNotFound, BundleRefused."""
        progress = _Reported()
        work = asyncio.create_task(asyncio.to_thread(self._verify, operation, progress))
        try:
            while not (await asyncio.wait((work,), timeout=0.5))[0]:
                done, total = progress.latest
                await self._operations.progress(operation, done, total, "bytes")
            return (await work).manifest
        except BundleInvalid as error:
            self.remove(operation)
            raise BundleRefused(error.fault, error.entry, error.problem) from None
        finally:
            progress.cancelled = True  # a thread is not cancelled: it stops by itself
            work.add_done_callback(_forget)

    def _verify(self, operation: Operation, progress: _Reported) -> Verified:
        return verify(self.source(operation), self._check(operation), progress)

    def remove(self, operation: Operation) -> None:
        """Remove an operation's bundle."""
        self._folder.remove_upload(_bundle_id(operation))

    def _check(self, operation: Operation) -> Callable[[bytes, bytes], None]:
        jwks = str(operation.arguments["jwks"]) or self._own_jwks.read_bytes()
        return partial(signature.check, signature.keys(jwks))


class _Reported:
    """What a thread has told last of its progress; raises in it once nobody waits any more."""

    def __init__(self) -> None:
        self.latest = (0, 0)
        self.cancelled = False

    def __call__(self, done: int, total: int) -> None:
        if self.cancelled:
            raise _Abandoned("nobody waits for it")
        self.latest = (done, total)


class _Abandoned(Exception):
    """Nobody waits for a verification any more."""


def _forget(work: asyncio.Task[Verified]) -> None:
    """Note that nobody wants to know how a verification has ended."""
    if not work.cancelled():
        work.exception()


def _bundle_id(operation: Operation) -> str:
    return str(operation.arguments["bundle_id"])
