"""Time in UTC, always with its zone."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> Timestamp:
    """Convert a time with a zone to google.protobuf.Timestamp, to the microsecond."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message
