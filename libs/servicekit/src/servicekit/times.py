"""Time, always aware of its zone."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> Timestamp:
    """Turn a zone-aware time into its message, to the microsecond."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message
