"""Bundles as tar: plain files one after another, each header exactly as it is written here.

A header of any other form is refused, so there are no links, no sparse files, no extended names and
no compression: nothing in the tar is larger than it looks.
"""

from __future__ import annotations

import tarfile

from bundle.errors import BundleInvalid, Fault
from bundle.names import is_known

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
"""What a tar ends with."""


def header(name: str, size: int) -> bytes:
    """Return the block before a file."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return the zeros after a file of `size` bytes."""
    return bytes(-size % BLOCK)


def parse_header(block: bytes) -> tuple[str, int] | None:
    """Return the name and the size of a file; None for a block of zeros. Raises BundleInvalid."""
    if block == bytes(BLOCK):
        return None
    if len(block) < BLOCK:
        raise BundleInvalid(Fault.MISSING, "", "the tar ends in the middle")
    if block[:2] == b"\x1f\x8b" or block[:4] == b"\x28\xb5\x2f\xfd" or block[:3] == b"BZh":
        raise BundleInvalid(Fault.FORMAT, "", "it is compressed; decompress it first")
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise BundleInvalid(Fault.FORMAT, "", f"it is no tar: {error}") from None
    if info.type != tarfile.REGTYPE:
        raise BundleInvalid(Fault.LINK, info.name[:200], "it is no plain file")
    if not is_known(info.name):
        raise BundleInvalid(Fault.NAME, "", f"no file of a bundle is named {info.name[:200]!r}")
    if info.size < 0 or header(info.name, info.size) != block:
        raise BundleInvalid(Fault.FORMAT, info.name, "its header is not that of a bundle")
    return info.name, info.size
