"""The typed async client of Nagaya.

    from nagaya_client import Client, read_settings

    async with Client.connect(read_settings()) as client:
        async for event in client.watch_run("acme", run_id):
            ...

Names are loaded when they are first used, so that the `nagaya` command starts without gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nagaya_client.client import Client
    from nagaya_client.errors import (
        ApiError,
        BytesCorrupt,
        LoginFailed,
        NagayaError,
        PipelineFileInvalid,
        SettingsInvalid,
        Violation,
    )
    from nagaya_client.paging import pages
    from nagaya_client.pipeline_file import PipelineFile, read_pipeline
    from nagaya_client.settings import Settings, read_settings
    from nagaya_client.tokens import Token, TokenSource
    from nagaya_client.transfer import UploadTarget

__all__ = [
    "ApiError",
    "BytesCorrupt",
    "Client",
    "LoginFailed",
    "NagayaError",
    "PipelineFile",
    "PipelineFileInvalid",
    "Settings",
    "SettingsInvalid",
    "Token",
    "TokenSource",
    "UploadTarget",
    "Violation",
    "pages",
    "read_pipeline",
    "read_settings",
]

_HOMES = {
    "client": ("Client",),
    "errors": (
        "ApiError",
        "BytesCorrupt",
        "LoginFailed",
        "NagayaError",
        "PipelineFileInvalid",
        "SettingsInvalid",
        "Violation",
    ),
    "paging": ("pages",),
    "pipeline_file": ("PipelineFile", "read_pipeline"),
    "settings": ("Settings", "read_settings"),
    "tokens": ("Token", "TokenSource"),
    "transfer": ("UploadTarget",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
