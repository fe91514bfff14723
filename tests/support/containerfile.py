"""Builds deploy/Containerfile without a builder: its instructions, each stage in a root of its own.

The base image is this machine's /usr and Python. RUN lines are executed by chroot in a mount
namespace, so they find nothing but the base and what the file has copied before. What is built runs
in its root as a user that does not exist, with everything read-only but /tmp.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

UID = 54321
"""Whom programs of an image run as."""
_PYTHON = Path(sys.base_prefix)
_BASE = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/usr", str(_PYTHON))
_TMP = "/tmp"  # noqa: S108 - of the image
_PATH = f"{_PYTHON}/bin:/usr/local/bin:/usr/bin:/bin"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# How packages are reached is the machine's business, as with a builder's own build arguments.
_CACHE = "/cache"  # what `make install` has loaded is not loaded again
_NETWORK = re.compile(r"(?i)PIP_(INDEX_URL|CERT|TRUSTED_HOST)|SSL_CERT_(FILE|DIR)|\w+_PROXY")


@dataclass
class Stage:
    """A stage as far as it is built: its root, and what its instructions have set."""

    root: Path
    arguments: dict[str, str] = field(default_factory=dict[str, str])
    environment: dict[str, str] = field(default_factory=dict[str, str])
    folder: str = "/"
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()

    def command(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        mounts: Mapping[str, Path],
        *,
        as_user: bool,
    ) -> list[str]:
        """Return a command that executes `arguments` in the root.

        `mounts` are folders of this machine by the paths at which they appear. As the user, nothing
        but /tmp can be written.
        """
        folders = {path: Path(path) for path in _BASE if not Path(path).is_symlink()} | dict(mounts)
        lines = [f"mount --bind {self.root} {self.root}"]
        for path, source in folders.items():
            self.inside(path).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --rbind {source} {self.inside(path)}")
        self.inside(_TMP).mkdir(exist_ok=True)
        lines.append(f"mount -t tmpfs -o mode=1777 tmpfs {self.inside(_TMP)}")
        if as_user:
            lines.append(f"mount -o remount,bind,ro {self.root}")
        variables = {"PATH": _PATH} | self.environment | dict(environment)
        given = [f"{name}={value}" for name, value in variables.items()]
        is_root = os.geteuid() == 0
        user = [f"--userspec={UID}:{UID}", f"--groups={UID}"] if as_user and is_root else []
        script = " && ".join([*lines, 'exec chroot "$@"'])
        namespaces = ["unshare", "--mount", *([] if is_root else ["--map-root-user"])]
        inner = ["env", "-i", "-C", self.folder, *given, *arguments]
        return [*namespaces, "sh", "-c", script, "sh", *user, str(self.root), *inner]

    def inside(self, path: str) -> Path:
        """Return where a path of the stage lies on this machine."""
        return self.root / path.lstrip("/")

    def run(self, line: str) -> None:
        """Execute a RUN line. Raises CalledProcessError with what it said."""
        network = {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}
        variables = self.arguments | network | {"UV_CACHE_DIR": _CACHE}
        command = self.command(
            ["/bin/sh", "-c", line], variables, {_CACHE: _uv_cache()}, as_user=False
        )
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"RUN {line} ended with {done.returncode}:\n{done.stdout[-4000:]}")


def build(file: Path, context: Path, arguments: Mapping[str, str], folder: Path) -> Stage:
    """Build a file's last stage below `folder`. Raises AssertionError for a RUN line that fails."""
    stages: dict[str, Stage] = {}
    stage = Stage(folder)
    common: dict[str, str] = {}
    for name, value in _instructions(file):
        if name == "FROM":
            stage = _stage(folder / f"stage-{len(stages)}")
            stages[value.partition(" AS ")[2] or "last"] = stage
        elif name == "ARG":
            argument, _, default = value.partition("=")
            into = stage.arguments if stages else common
            into[argument] = arguments.get(argument, common.get(argument, default))
        else:
            _apply(stage, name, value, context, stages)
    return stage


def _uv_cache() -> Path:
    folder = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _stage(root: Path) -> Stage:
    root.mkdir(parents=True)
    for path in map(Path, _BASE):
        if path.is_symlink():
            (root / path.name).symlink_to(path.readlink())
    return Stage(root)


def _instructions(file: Path) -> Iterator[tuple[str, str]]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, value = line.strip().partition(" ")
            yield name.upper(), value.strip()


def _apply(stage: Stage, name: str, value: str, context: Path, stages: Mapping[str, Stage]) -> None:
    known = {"PATH": _PATH} | stage.environment | stage.arguments
    expanded = _VARIABLE.sub(lambda found: known[found[1] or found[2]], value)
    match name:
        case "ENV":
            stage.environment |= dict(item.split("=", 1) for item in expanded.split())
        case "WORKDIR":
            stage.folder = expanded
            stage.inside(expanded).mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(stage, expanded.split(), context, stages)
        case "RUN":
            stage.run(value)
        case "USER":
            stage.user = expanded
        case "ENTRYPOINT":
            stage.entrypoint = tuple(json.loads(value))
        case "HEALTHCHECK":
            stage.healthcheck = tuple(json.loads(value[value.index("CMD") + 3 :]))
        case "EXPOSE" | "LABEL" | "STOPSIGNAL":
            pass
        case _:
            raise AssertionError(f"{name} is not known here: teach it to {__file__}")


def _copy(stage: Stage, words: list[str], context: Path, stages: Mapping[str, Stage]) -> None:
    if words[0].startswith("--from="):
        other = stages[words.pop(0).removeprefix("--from=")]
        source, target = words
        shutil.copytree(
            other.inside(source), stage.inside(target), symlinks=True, copy_function=os.link
        )
        return
    *sources, target = words
    ignored = _ignored(context)
    into = stage.inside(f"{stage.folder}/{target}")
    for source in sources:
        found = context / source
        if target.endswith("/"):
            into.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, into, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        else:
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, into)


def _ignored(context: Path) -> Callable[[Any, list[str]], set[str]]:
    lines = (context / ".containerignore").read_text().splitlines()
    anywhere = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    return shutil.ignore_patterns(*anywhere)
