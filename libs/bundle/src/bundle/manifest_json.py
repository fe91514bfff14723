"""`manifest.json`: canonical JSON; equal content, equal bytes. Nothing else is read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from bundle.errors import BundleInvalid, Fault
from bundle.manifest import (
    AppliedFile,
    AuditHead,
    Manifest,
    Objects,
    Sequence,
    Table,
    Tenant,
)
from bundle.names import DIGEST, IDENTIFIER, MANIFEST, SERVICE, TENANT

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = "nagaya-bundle"
VERSION = 1
MANIFEST_LIMIT = 4 << 20
"""The most bytes of a manifest."""
OBJECT_LIMIT = 10_000_000
"""The most objects of a bundle."""

_TABLE_LIMIT = 1_000
_COLUMN_LIMIT = 1_600
_MOST = (1 << 63) - 1
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_PREFIX = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[a-z][a-z0-9-]{1,38}[a-z0-9]")

_Object: TypeAlias = "dict[str, Any]"


def encode(manifest: Manifest) -> bytes:
    """Return the file."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "bundle_id": manifest.bundle_id,
        "create_time": manifest.create_time.astimezone(UTC).strftime(_TIME_FORMAT),
        "installation": manifest.installation,
        "tenant": _fields(manifest.tenant),
        "migrations": [_fields(file) for file in manifest.migrations],
        "tables": [_fields(table) for table in manifest.tables],
        "sequences": [_fields(sequence) for sequence in manifest.sequences],
        "objects": _fields(manifest.objects),
        "audit": _fields(manifest.audit),
    }
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def parse(raw: bytes) -> Manifest:
    """Read the file. Raises BundleInvalid."""
    try:
        content: Any = json.loads(raw, object_pairs_hook=_once, parse_float=_refuse_float)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"it is no JSON: {error}") from None
    if not isinstance(content, dict) or cast("_Object", content).get("format") != FORMAT:
        raise _invalid(f"it is no {FORMAT}")
    version = cast("_Object", content).get("version")
    if version != VERSION:
        raise BundleInvalid(
            Fault.VERSION, MANIFEST, f"it has version {version!r}; this build reads {VERSION}"
        )
    manifest = _Reader(cast("_Object", content), "").manifest()
    if encode(manifest) != raw:
        raise _invalid("it is not written as canonical JSON")
    return manifest


class _Reader:
    """Takes the fields of one object, each checked; `where` is its path."""

    def __init__(self, content: _Object, where: str) -> None:
        self._content = content
        self._where = where

    def manifest(self) -> Manifest:
        made = Manifest(
            bundle_id=self._text("bundle_id", re.compile(r"[0-9a-f-]{36}")),
            create_time=self._time("create_time"),
            installation=self._text("installation", re.compile(r"[0-9a-f-]{36}")),
            tenant=self._object("tenant")._tenant(),
            migrations=tuple(one._file() for one in self._list("migrations", 100_000)),
            tables=tuple(one._table() for one in self._list("tables", _TABLE_LIMIT)),
            sequences=tuple(one._sequence() for one in self._list("sequences", _TABLE_LIMIT)),
            objects=self._object("objects")._objects(),
            audit=self._object("audit")._audit(),
        )
        self._only("format", "version", *Manifest.__dataclass_fields__)
        _unique("tables", (table.name for table in made.tables))
        _unique("sequences", (sequence.name for sequence in made.sequences))
        _unique("migrations", ((file.service, file.number) for file in made.migrations))
        return made

    def _tenant(self) -> Tenant:
        self._only(*Tenant.__dataclass_fields__)
        name = self._text("name", re.compile(r"(?s).{1,200}"))
        return Tenant(self._text("tenant_id", TENANT), name, self._text("path_prefix", _PREFIX))

    def _file(self) -> AppliedFile:
        self._only(*AppliedFile.__dataclass_fields__)
        return AppliedFile(
            self._text("service", SERVICE),
            self._number("number", 1, 1_000_000),
            self._text("name", IDENTIFIER),
            self._text("digest", DIGEST),
        )

    def _table(self) -> Table:
        self._only(*Table.__dataclass_fields__)
        columns = self._texts("columns", IDENTIFIER)
        _unique(f"{self._where}.columns", columns)
        return Table(
            self._text("name", IDENTIFIER),
            self._text("service", SERVICE),
            columns,
            self._number("rows"),
            self._number("size_bytes"),
            self._text("digest", DIGEST),
        )

    def _sequence(self) -> Sequence:
        self._only(*Sequence.__dataclass_fields__)
        is_called = self._content["is_called"]
        if not isinstance(is_called, bool):
            raise self._wrong("is_called")
        return Sequence(
            self._text("name", IDENTIFIER),
            self._text("service", SERVICE),
            self._number("last_value", -_MOST - 1),
            is_called,
        )

    def _objects(self) -> Objects:
        self._only(*Objects.__dataclass_fields__)
        count = self._number("count")
        if count > OBJECT_LIMIT:
            raise BundleInvalid(Fault.LIMIT, MANIFEST, f"it names more than {OBJECT_LIMIT} objects")
        return Objects(
            count,
            self._number("size_bytes"),
            self._number("index_size_bytes"),
            self._text("index_digest", DIGEST),
        )

    def _audit(self) -> AuditHead:
        self._only(*AuditHead.__dataclass_fields__)
        return AuditHead(self._number("sequence"), self._text("digest", DIGEST))

    def _only(self, *names: str) -> None:
        if self._content.keys() != set(names):
            raise _invalid(f"{self._where or 'it'} has other fields than {', '.join(names)}")

    def _object(self, name: str) -> _Reader:
        value = self._content.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name)
        return _Reader(cast("_Object", value), self._path(name))

    def _list(self, name: str, limit: int) -> list[_Reader]:
        value = self._content.get(name)
        if not isinstance(value, list) or len(cast("list[Any]", value)) > limit:
            raise self._wrong(name)
        found: list[_Reader] = []
        for place, one in enumerate(cast("list[Any]", value)):
            if not isinstance(one, dict):
                raise self._wrong(f"{name}[{place}]")
            found.append(_Reader(cast("_Object", one), f"{self._path(name)}[{place}]"))
        return found

    def _text(self, name: str, form: re.Pattern[str]) -> str:
        value = self._content.get(name)
        if not isinstance(value, str) or not form.fullmatch(value):
            raise self._wrong(name)
        return value

    def _texts(self, name: str, form: re.Pattern[str]) -> tuple[str, ...]:
        value = self._content.get(name)
        if not isinstance(value, list) or len(cast("list[Any]", value)) > _COLUMN_LIMIT:
            raise self._wrong(name)
        for one in cast("list[Any]", value):
            if not isinstance(one, str) or not form.fullmatch(one):
                raise self._wrong(name)
        return tuple(cast("list[str]", value))

    def _number(self, name: str, least: int = 0, most: int = _MOST) -> int:
        value = self._content.get(name)
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(name)
        return value

    def _time(self, name: str) -> datetime:
        text = self._text(name, _TIME)
        try:
            return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            raise self._wrong(name) from None

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def _wrong(self, name: str) -> BundleInvalid:
        return _invalid(f"{self._path(name)} is missing or wrong")


def _fields(value: Any) -> _Object:  # noqa: ANN401 - one of the classes above
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _unique(where: str, found: Iterable[object]) -> None:
    seen: set[object] = set()
    for one in found:
        if one in seen:
            raise BundleInvalid(Fault.EXTRA, MANIFEST, f"{where} names {one} twice")
        seen.add(one)


def _once(pairs: list[tuple[str, Any]]) -> _Object:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("an object has a name twice")
    return dict(pairs)


def _refuse_float(text: str) -> float:
    raise ValueError(f"{text[:20]} is no integer")


def _invalid(problem: str) -> BundleInvalid:
    return BundleInvalid(Fault.FORMAT, MANIFEST, problem)
