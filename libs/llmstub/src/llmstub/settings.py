"""The stub's settings and its command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a reply takes: to its first token, and from chunk to chunk.

    `jitter` is the share by which each call may be slower or faster, drawn from its request.
    """

    first_token_ms: float = 40
    chunk_ms: float = 5
    jitter: float = 0.25

    def drawn(self, random: Random) -> Latency:
        factor = 1 + self.jitter * random.uniform(-1, 1)
        return Latency(self.first_token_ms * factor, self.chunk_ms * factor, 0)


@dataclass(frozen=True, slots=True)
class Settings:
    """`keys` empty: any key is accepted. `calls_file` None: calls are kept in memory only."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    latency: Latency = Latency()
    calls_file: Path | None = None
    script_file: Path | None = None
    keys: frozenset[str] = frozenset()
    log_bodies: bool = False


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line; wrong options end the process with a message, as argparse does."""
    parser = _parser()
    given = cast("dict[str, object]", vars(parser.parse_args(arguments)))
    host, colon, port = str(given["listen"]).rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        parser.error("--listen: expected HOST:PORT, for example 127.0.0.1:0")
    keys_file = cast("Path | None", given["keys"])
    try:
        keys = keys_file.read_text().split() if keys_file else []
    except OSError as error:
        parser.error(f"--keys: {error}")
    return Settings(
        host=host.strip("[]") or "127.0.0.1",
        port=int(port),
        seed=cast("int", given["seed"]),
        latency=Latency(
            cast("float", given["latency_ms"]),
            cast("float", given["chunk_ms"]),
            cast("float", given["jitter"]),
        ),
        calls_file=cast("Path | None", given["calls_file"]),
        script_file=cast("Path | None", given["script"]),
        keys=frozenset(keys),
        log_bodies=bool(given["log_bodies"]),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmstub", description="A stub of Claude, OpenAI and Gemini that speaks their formats."
    )
    usual = Latency()
    option = parser.add_argument
    option("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0: any free one")
    option("--calls-file", type=Path, metavar="FILE", help="append one JSON line per event here")
    option("--seed", type=int, default=0, metavar="N", help="another seed, other replies")
    option("--latency-ms", type=_duration, default=usual.first_token_ms, metavar="MS",
           help="to the first token (default %(default)s)")  # fmt: skip
    option("--chunk-ms", type=_duration, default=usual.chunk_ms, metavar="MS",
           help="between two chunks (default %(default)s)")  # fmt: skip
    option("--jitter", type=_share, default=usual.jitter, metavar="SHARE",
           help="0 to 1: how much one call is slower or faster (default %(default)s)")  # fmt: skip
    option("--script", type=Path, metavar="FILE", help="faults to begin with, as JSON")
    option("--keys", type=Path, metavar="FILE", help="accept only these keys, one on a line")
    option("--log-bodies", action="store_true", help="write prompts and replies to the log too")
    return parser


def _duration(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 600_000:
        raise ValueError(text)
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value
