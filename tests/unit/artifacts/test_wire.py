"""Messages that are written by hand are what protobuf reads."""

from __future__ import annotations

import pytest

from artifacts import wire
from nagaya.artifacts.v1.artifact_service_pb2 import DownloadArtifactResponse


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1 << 20])
def test_a_downloaded_chunk_is_read_as_it_was(size: int) -> None:
    chunk = bytes(range(256)) * (size // 256) + bytes(size % 256)
    response = DownloadArtifactResponse.FromString(wire.downloaded(chunk))
    assert response.WhichOneof("part") == "data"
    assert response.data == chunk
