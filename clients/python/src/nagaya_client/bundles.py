"""Bundles of tenants: fetched, sent, and verified without any server."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from bundle import manifest_json, signature
from bundle.errors import BundleInvalid
from bundle.names import MANIFEST
from bundle.source import source
from bundle.stream import tar_bytes, tar_size
from bundle.verify import read_manifest, verify
from nagaya.tenant.v1 import transfer_service_pb2 as pb
from nagaya_client.errors import ApiError, BundleRefused, BytesCorrupt
from nagaya_client.transfer_retries import pause_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from grpc.aio import UnaryStreamCall

    from bundle.manifest import Manifest
    from bundle.verify import Verified
    from nagaya.tenant.v1.transfer_service_pb2_grpc import TransferServiceStub

    Report = Callable[[int, int], None]

_PIECE_BYTES = 1 << 20


def manifest(path: Path) -> Manifest:
    """Read the manifest of a bundle, a tar or a directory, whoever has signed it.

    Raises BundleRefused, OSError.
    """
    try:
        return read_manifest(source(path), _unchecked)
    except BundleInvalid as error:
        raise _refused(path, error) from None


def verified(path: Path, jwks: bytes | None, report: Report = lambda done, total: None) -> Verified:
    """Verify all that is in a bundle, and its signature if keys are given.

    `report` is told how many of how many bytes are verified. Raises BundleRefused, OSError.
    """
    try:
        check = _unchecked if jwks is None else partial(signature.check, signature.keys(jwks))
        return verify(source(path), check, report)
    except BundleInvalid as error:
        raise _refused(path, error) from None


async def fetch(
    stub: TransferServiceStub,
    tenant_id: str,
    bundle_id: str,
    target: Path,
    report: Report = lambda done, total: None,
) -> None:
    """Fetch an exported bundle as a tar; `target` appears whole, or not at all.

    A stream that breaks goes on where it broke. Raises ApiError, BytesCorrupt, BundleRefused and
    OSError.
    """
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with await asyncio.to_thread(draft.open, "xb") as file:
            await _fetch_all(stub, tenant_id, bundle_id, file, report)
        await asyncio.to_thread(verified, draft, None)
        await asyncio.to_thread(draft.replace, target)
    finally:
        draft.unlink(missing_ok=True)


async def send(
    stub: TransferServiceStub,
    bundle_id: str,
    path: Path,
    report: Report = lambda done, total: None,
) -> None:
    """Send a bundle, a tar or a directory, under a UUID; what was sent before is not sent again.

    A stream that breaks goes on where it broke. Raises ApiError, BundleRefused, OSError.
    """
    size = await asyncio.to_thread(_size, path)
    failures = 0
    while True:
        known = await stub.GetBundleUpload(pb.GetBundleUploadRequest(bundle_id=bundle_id))
        if known.complete and known.received_bytes == size:
            return
        offset = 0 if known.complete else min(known.received_bytes, size)
        try:
            await stub.UploadBundle(_messages(bundle_id, path, size, offset, report))
        except ApiError as error:
            failures += 1
            await asyncio.sleep(pause_seconds(error, failures))


async def _fetch_all(
    stub: TransferServiceStub,
    tenant_id: str,
    bundle_id: str,
    file: BinaryIO,
    report: Report,
) -> None:
    size = received = failures = 0
    while not size or received < size:
        request = pb.DownloadBundleRequest(
            tenant_id=tenant_id, bundle_id=bundle_id, offset=received
        )
        call: UnaryStreamCall[Any, pb.DownloadBundleResponse] = stub.DownloadBundle(request)
        try:
            async for response in call:
                size = response.size_bytes or size
                await asyncio.to_thread(file.write, response.data)
                received += len(response.data)
                failures = 0 if response.data else failures
                report(received, size)
            if received < size or not size:
                message = f"the stream ended after {received:,} bytes, before the bundle"
                raise ApiError(grpc.StatusCode.UNAVAILABLE, message)
            if received > size:
                raise BytesCorrupt(f"{received:,} bytes came of {size:,}", "Fetch it again.")
        except ApiError as error:
            failures += 1
            await asyncio.sleep(pause_seconds(error, failures))
        finally:
            call.cancel()


async def _messages(
    bundle_id: str, path: Path, size: int, offset: int, report: Report
) -> AsyncGenerator[pb.UploadBundleRequest]:
    upload = pb.BundleUpload(bundle_id=bundle_id, size_bytes=size, offset=offset)
    yield pb.UploadBundleRequest(upload=upload)
    sent, pieces = offset, _pieces(path, offset)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield pb.UploadBundleRequest(data=piece)
        sent += len(piece)
        report(sent, size)


def _pieces(path: Path, offset: int) -> Iterator[bytes]:
    if path.is_dir():
        yield from tar_bytes(path, offset)
        return
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    try:
        return tar_size(manifest_json.parse((path / MANIFEST).read_bytes()), path)
    except BundleInvalid as error:
        raise _refused(path, error) from None


def _unchecked(manifest: bytes, signature: bytes) -> None:
    """Take any signature for one."""


def _refused(path: Path, error: BundleInvalid) -> BundleRefused:
    return BundleRefused(
        f"{path}: {error}", error.fault, "Fetch or export it again: nothing of it can be used."
    )
