"""The gateways beside ours, set up as their own pages say for production."""

from __future__ import annotations

import json
import secrets
import shutil
from typing import TYPE_CHECKING

from bench.load import Target
from bench.mock import MODEL
from bench.peers.install import PeerMissing, node_modules, python_environment
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.health import probe_http

if TYPE_CHECKING:
    from pathlib import Path

_CHAT = "/v1/chat/completions"


class LiteLLM:
    """LiteLLM's proxy on uvicorn with uvloop, without a database: nothing is stored.

    Its page of best practices: a master key, errors only in the log, `LITELLM_MODE=PRODUCTION`.
    Its table of prices comes from the package: the network is not asked.
    """

    def __init__(self, folder: Path, provider: str, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self._provider = provider
        self._key = f"sk-{secrets.token_hex(32)}"
        self._port = free_port()
        self._programs = python_environment("litellm")

    @property
    def target(self) -> Target:
        headers = {"authorization": f"Bearer {self._key}"}
        return Target("http", f"127.0.0.1:{self._port}", _CHAT, headers)

    @property
    def stopping(self) -> Stopping:
        return Stopping(seconds=5.0)

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        model = {"model": f"openai/{MODEL}", "api_base": self._provider, "api_key": "key"}
        config = {
            "model_list": [{"model_name": MODEL, "litellm_params": model}],
            "litellm_settings": {"request_timeout": 60, "set_verbose": False, "json_logs": True},
        }
        (self._folder / "config.yaml").write_text(json.dumps(config))  # YAML holds JSON

    def command(self) -> Command:
        argv = (
            str(self._programs / "litellm"),
            *("--config", str(self._folder / "config.yaml")),
            *("--host", "127.0.0.1", "--port", str(self._port)),
            *("--num_workers", str(self._workers)),
        )
        settings = {
            "LITELLM_MASTER_KEY": self._key,
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        return Command(argv, self._folder, settings)

    async def probe(self) -> None:
        await probe_http(self._port, "/health/liveliness")


class Portkey:
    """Portkey's gateway on Node, one process; nothing is stored.

    `--headless` leaves out the console with its log of requests, which is for development.
    """

    def __init__(self, folder: Path, provider: str) -> None:
        self._folder = folder
        self._provider = provider
        self._port = free_port()
        self._modules = node_modules("portkey")
        node = shutil.which("node")
        if node is None:
            raise PeerMissing("Portkey needs Node.js, which is not on PATH", "Install it, ≥ 18.")
        self._node = node

    @property
    def target(self) -> Target:
        headers = {
            "authorization": "Bearer key",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": self._provider,
        }
        return Target("http", f"127.0.0.1:{self._port}", _CHAT, headers)

    @property
    def stopping(self) -> Stopping:
        return Stopping(seconds=5.0)

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> Command:
        server = str(self._modules / "@portkey-ai" / "gateway" / "build" / "start-server.js")
        argv = (self._node, server, f"--port={self._port}", "--headless")
        return Command(argv, self._folder, {"NODE_ENV": "production"})

    async def probe(self) -> None:
        await probe_http(self._port)
