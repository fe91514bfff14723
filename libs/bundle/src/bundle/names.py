"""The names of the files in a bundle: the only module that makes them."""

from __future__ import annotations

import re

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
INDEX = "objects.jsonl"
TABLES = "tables"
OBJECTS = "objects"

DIGEST = re.compile(r"[0-9a-f]{64}")
IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
SERVICE = re.compile(r"[a-z][a-z-]{0,30}")
TENANT = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")
KEY = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"/[a-z][a-z0-9_-]{0,62}"
    r"/(output\.json|artifacts(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,7})"
)
"""Of an object: `{run}/{step}/{name}`, below the folder of its tenant."""
KEY_LIMIT = 700


def table_file(table: str) -> str:
    """Return the name of the file that holds a table's rows."""
    return f"{TABLES}/{table}.copy"


def object_file(digest: str) -> str:
    """Return the name of the file that holds the objects of this sha256."""
    return f"{OBJECTS}/{digest[:2]}/{digest}"


def is_known(name: str) -> bool:
    """Tell whether a bundle may have a file of this name."""
    if name in (MANIFEST, SIGNATURE, INDEX):
        return True
    folder, _, rest = name.partition("/")
    if folder == TABLES:
        table, dot, kind = rest.partition(".")
        return bool(dot) and kind == "copy" and IDENTIFIER.fullmatch(table) is not None
    digest = rest.rpartition("/")[2]
    return DIGEST.fullmatch(digest) is not None and name == object_file(digest)
