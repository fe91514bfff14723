"""Ways to damage the tar of a bundle."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.bundles import signature

from bundle import tar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to damage the tar of a bundle."""

    name: str
    damage: Callable[[bytes, random.Random], bytes]


def members(data: bytes) -> list[tuple[str, bytes]]:
    """Return the names and contents of a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return [(member.name, _content(opened, member)) for member in opened.getmembers()]


def _content(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = opened.extractfile(member)
    assert file is not None
    return file.read()


def packed(files: list[tuple[str, bytes]]) -> bytes:
    """Return a tar of files, each with the header that a bundle's file has."""
    blocks = [
        tar.header(name, len(content)) + content + tar.padding(len(content))
        for name, content in files
    ]
    return b"".join(blocks) + tar.END


def special(data: bytes, random: random.Random, kind: bytes, name: str, target: str = "") -> bytes:
    """Put a member of another kind before one of a tar's files."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    block = info.tobuf(tarfile.GNU_FORMAT)
    places = [0, data.index(b"tables/"), data.index(b"objects.jsonl\0")]
    place = random.choice(places)
    return data[:place] + block + data[place:]


def _bit_flip(data: bytes, random: random.Random) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def _cut(data: bytes, random: random.Random) -> bytes:
    return data[: random.randrange(len(data))]


def _without_one(data: bytes, random: random.Random) -> bytes:
    files = members(data)
    del files[random.randrange(len(files))]
    return packed(files)


def _one_twice(data: bytes, random: random.Random) -> bytes:
    files = members(data)
    files.insert(random.randrange(len(files) + 1), random.choice(files))
    return packed(files)


def _two_swapped(data: bytes, random: random.Random) -> bytes:
    files = members(data)
    first, second = random.sample(range(len(files)), 2)
    files[first], files[second] = files[second], files[first]
    return packed(files)


def _other_content(data: bytes, random: random.Random) -> bytes:
    files = members(data)
    place = random.randrange(len(files))
    name, content = files[place]
    files[place] = (name, content[:-1] + bytes([content[-1] ^ 1]) if content else b"x")
    return packed(files)


def _longer(data: bytes, random: random.Random) -> bytes:
    files = members(data)
    place = random.randrange(len(files))
    files[place] = (files[place][0], files[place][1] + b"x" * random.randrange(1, 5000))
    return packed(files)


def _added(*names: str) -> Callable[[bytes, random.Random], bytes]:
    def damage(data: bytes, random: random.Random) -> bytes:
        files = members(data)
        files.insert(random.randrange(len(files) + 1), (random.choice(names), b"x"))
        return packed(files)

    return damage


def _renamed(*names: str) -> Callable[[bytes, random.Random], bytes]:
    def damage(data: bytes, random: random.Random) -> bytes:
        files = members(data)
        place = random.randrange(len(files))
        files[place] = (random.choice(names), files[place][1])
        return packed(files)

    return damage


def _link(kind: bytes) -> Callable[[bytes, random.Random], bytes]:
    return lambda data, random: special(data, random, kind, "tables/runs.copy", "/etc/passwd")


def _declared(size: int) -> Callable[[bytes, random.Random], bytes]:
    """Have a header say that its file is huge."""

    def damage(data: bytes, random: random.Random) -> bytes:
        name, _ = random.choice(members(data))
        info = tarfile.TarInfo(name)
        info.mode = 0o644
        at = data.index(name.encode() + b"\0")
        info.size = size
        return data[:at] + info.tobuf(tarfile.GNU_FORMAT) + data[at + 512 :]

    return damage


def _manifest(change: Callable[[dict[str, object]], object]) -> Callable[..., bytes]:
    """Change the manifest, and sign it anew: what a signer would have to be trusted not to do."""

    def damage(data: bytes, random: random.Random) -> bytes:
        files = members(data)
        content = json.loads(files[0][1])
        change(content)
        raw = json.dumps(
            content, ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode()
        files[0], files[1] = (files[0][0], raw), (files[1][0], signature(raw))
        return packed(files)

    return damage


def _set(path: str, value: object) -> Callable[..., bytes]:
    def change(content: dict[str, object]) -> None:
        where: object = content
        *folders, last = path.split(".")
        for folder in folders:
            where = where[int(folder)] if isinstance(where, list) else where[folder]  # pyright: ignore
        where[last] = value  # pyright: ignore

    return _manifest(change)


OUTSIDE = (
    "../outside",
    "/etc/nagaya",
    "tables/../../outside.copy",
    "objects/aa/..",
    "./manifest.json",
)

MUTATIONS = (
    Mutation("bit flip", _bit_flip),
    Mutation("cut off", _cut),
    Mutation("one file missing", _without_one),
    Mutation("one file twice", _one_twice),
    Mutation("two files swapped", _two_swapped),
    Mutation("one file with another byte", _other_content),
    Mutation("one file longer", _longer),
    Mutation("a file outside", _added(*OUTSIDE)),
    Mutation("a file too many", _added("tables/extra.copy", "objects/" + "ab/" + "ab" * 32, "x")),
    Mutation("a file renamed", _renamed(*OUTSIDE, "tables/other.copy", "README")),
    Mutation("a symbolic link", _link(tarfile.SYMTYPE)),
    Mutation("a hard link", _link(tarfile.LNKTYPE)),
    Mutation("a device", _link(tarfile.CHRTYPE)),
    Mutation("a folder", _link(tarfile.DIRTYPE)),
    Mutation("a sparse file", _link(tarfile.GNUTYPE_SPARSE)),
    Mutation("a long name", _link(tarfile.GNUTYPE_LONGNAME)),
    Mutation("an extended header", _link(tarfile.XHDTYPE)),
    Mutation("a size of 2 GiB", _declared(2 << 30)),
    Mutation("a size of 8 EiB", _declared(8 << 60)),
    Mutation("another version", _set("version", 2)),
    Mutation("another format", _set("format", "zip")),
    Mutation("another tenant", _set("tenant.tenant_id", "../acme")),
    Mutation("a prefix outside", _set("tenant.path_prefix", "../../etc")),
    Mutation("a table's name", _set("tables.0.name", "runs; DROP TABLE runs")),
    Mutation("a table's rows", _set("tables.0.rows", 1 << 40)),
    Mutation("a table's size", _set("tables.1.size_bytes", 1 << 40)),
    Mutation("a negative size", _set("tables.1.size_bytes", -1)),
    Mutation("a fraction", _set("tables.1.size_bytes", 1.5)),
    Mutation("a table's digest", _set("tables.2.digest", "0" * 64)),
    Mutation("a table twice", _set("tables.2.name", "runs")),
    Mutation("more objects", _set("objects.count", 1 << 40)),
    Mutation("fewer objects", _set("objects.count", 1)),
    Mutation("larger objects", _set("objects.size_bytes", 1 << 50)),
    Mutation("another head of the audit log", _set("audit.digest", "f" * 64)),
    Mutation("a later end of the audit log", _set("audit.sequence", 99)),
    Mutation("an unknown field", _set("sql", "DROP TABLE runs")),
)
"""Every kind of damage; each is to be refused."""
