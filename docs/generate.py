"""The pages of docs/ that are made from contracts and code; `--check` only compares.

    python -m docs.generate [--check]

errors.md: the comments of the `ErrorReason` enums, with the classes that name the reasons.
settings.md: what configurations read. log-events.md: log calls; each needs an event.
metrics.md: what processes export.
reference/pipelines.md: the comments of a pipeline's fields.
reference/commands.md: what `nagaya --help` says of each command.
And the configuration of Envoy for deploy/k8s and deploy/compose, and dashboards of Grafana.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.monitoring import dashboards
from docs import (
    commands,
    envoy,
    log_events,
    metric_tables,
    permissions,
    pipeline_reference,
    settings,
)
from docs.error_classes import ERRORS, classes_of
from docs.errors_head import ERRORS_HEAD
from docs.tables import table
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from nagaya_client.contract import RETRYABLE
from servicekit.status import code_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from servicekit.errors import DomainError

DOCS = Path(__file__).resolve().parent
_DASHBOARDS = DOCS.parent / "deploy" / "monitoring" / "grafana"
_UNSPECIFIED = 0
_KEY = re.compile(r"`([a-z][a-z0-9_]*)`")
_STATUS = re.compile(r"[A-Z_]+: ")


@dataclass(frozen=True, slots=True)
class Reason:
    """A value of an ErrorReason enum, and what its classes add."""

    name: str
    comment: str
    classes: tuple[type[DomainError], ...]

    @property
    def metadata(self) -> tuple[str, ...]:
        """The keys that the comment names."""
        return tuple(dict.fromkeys(_KEY.findall(self.comment)))

    @property
    def again(self) -> str:
        """Who may send a call again that was refused so: client, caller or nobody."""
        repeated = [kind for kind in self.classes if code_of(kind).name in RETRYABLE]
        if any(kind.retry_at_once for kind in repeated):
            return "client"
        return "caller" if repeated or "retry_after_ms" in self.metadata else ""

    def row(self) -> tuple[str, ...]:
        codes = dict.fromkeys(code_of(kind).name for kind in self.classes)
        hints = dict.fromkeys(kind.hint for kind in self.classes)
        keys = ", ".join(f"`{key}`" for key in self.metadata)
        meaning = _STATUS.sub("", self.comment, count=1)
        meaning = meaning[:1].upper() + meaning[1:]
        return f"`{self.name}`", ", ".join(codes), meaning, keys, self.again, " Or: ".join(hints)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a page is stale")
    check = parser.parse_args(arguments).check
    stale = {path: text for path, text in pages().items() if _text(path) != text}
    if not check:
        for path, text in stale.items():
            path.write_text(text)
        return 0
    problems = [f"{path.relative_to(DOCS.parent)} is stale: run `make docs`" for path in stale]
    problems += log_events.problems()
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


def pages() -> dict[Path, str]:
    """Return every generated page by its path; touch nothing."""
    return {
        DOCS / "errors.md": _errors_page(),
        DOCS / "log-events.md": log_events.page(),
        DOCS / "metrics.md": metric_tables.page(table),
        DOCS / "permissions.md": permissions.page(contracts()),
        DOCS / "reference" / "commands.md": commands.page(),
        DOCS / "reference" / "pipelines.md": pipeline_reference.page(contracts()),
        **{_DASHBOARDS / name: text for name, text in dashboards.files().items()},
        DOCS / "settings.md": settings.page(),
        **envoy.configurations(),
    }


def contracts() -> list[FileDescriptorProto]:
    """Return our contracts with their comments."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contracts.binpb"
        generate = [sys.executable, DOCS.parent / "protos" / "generate.py", "--image", image]
        subprocess.run(generate, check=True)
        files = FileDescriptorSet.FromString(image.read_bytes()).file
    return [file for file in files if file.name.startswith("nagaya/")]


def comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Return a file's comments by the path of what they describe."""
    return {tuple(place.path): place.leading_comments for place in file.source_code_info.location}


def reasons(files: Iterable[FileDescriptorProto]) -> dict[str, tuple[Reason, ...]]:
    """Return the reasons of each package in ERRORS, in the order of their numbers."""
    enums = {file.name.split("/")[1]: file for file in files if _is_enum(file)}
    return {package: tuple(_reasons(package, enums[package])) for package in ERRORS}


def _errors_page() -> str:
    files = contracts()
    intros = {file.name.split("/")[1]: comments(file)[5, 0] for file in files if _is_enum(file)}
    head = ("reason", "status", "what it means", "metadata", "again", "what helps")
    codes = " and ".join(f"`{code}`" for code in RETRYABLE)
    parts = [ERRORS_HEAD.format(codes=codes)]
    for package, found in reasons(files).items():
        title = "Any service" if package == "options" else package.replace("_", "-")
        rows = (reason.row() for reason in found)
        parts += [f"## {title}\n\n{_line(intros[package])}\n", table(head, rows)]
    return "\n".join(parts)


def _is_enum(file: FileDescriptorProto) -> bool:
    return file.name.endswith("/error_reason.proto")


def _reasons(package: str, file: FileDescriptorProto) -> Iterator[Reason]:
    texts, classes = comments(file), classes_of(package)
    for index, value in enumerate(file.enum_type[0].value):
        if value.number != _UNSPECIFIED:
            named = tuple(one for one in classes if one.reason == value.name)
            yield Reason(value.name, _line(texts.get((5, 0, 2, index), "")), named)


def _line(comment: str) -> str:
    return " ".join(comment.split())


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
