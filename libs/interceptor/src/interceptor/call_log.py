"""The access log: one JSON line for each call that has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING

from servicekit import logs

if TYPE_CHECKING:
    from interceptor.server_call import ServerCall

_FLUSH_SECONDS = 0.1


class CallLog:
    """Collects the calls that have ended and writes their lines ten times a second.

    A batch costs a third of the same lines written one by one, and wakes the log's thread once.
    """

    def __init__(self) -> None:
        root = logging.getLogger()
        handler = next((h for h in root.handlers if isinstance(h, logs.JsonHandler)), None)
        self._writer = handler.writer if handler and root.isEnabledFor(logging.INFO) else None
        self._service = quote(handler.service) if handler else '""'
        self._epoch = time.time() - time.monotonic()
        self._ended: list[ServerCall] = []

    def add(self, call: ServerCall) -> None:
        """Have a line written for a call that has ended."""
        if self._writer is None:
            return
        if not self._ended:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        self._ended.append(call)

    def flush(self) -> None:
        """Write the lines of the calls collected so far."""
        if self._ended and self._writer is not None:
            self._writer.put("\n".join(map(self._line, self._ended)))
            self._ended.clear()

    def _line(self, call: ServerCall) -> str:
        principal, method = call.principal, call.method
        workload = quote(principal.workload) if principal and principal.workload else "null"
        left = (call.deadline or 0.0) - call.started - call.seconds
        trace_id = f',"trace_id":"{call.traceparent[3:35]}"' if call.traceparent else ""
        why = f',"reason":{quote(call.reason)}' if call.reason else ""
        ended = logs.iso(self._epoch + call.started + call.seconds)
        return (
            f'{{"time":"{ended}","level":"info","service":{self._service},'
            f'"logger":"call","event":"call.ended","method":"{method.path[1:] if method else ""}",'
            f'"code":"{call.code}","ms":{call.seconds * 1000:.2f},'
            f'"tenant_id":{quote((call.tenant_id or "")[:64])},'
            f'"user_id":{quote((call.user_id or "")[:128])},"workload":{workload},'
            f'"request_id":{quote(call.request_id)},"bytes_in":{call.bytes_in},'
            f'"bytes_out":{call.bytes_out},"left_ms":{left * 1000:.0f}{trace_id}{why}}}'
        )
