"""Our presigned URLs are those of the minio client, at a fraction of the processor time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from artifacts.config import StoreConfig
from artifacts.object_store.bucket import Bucket
from artifacts.object_store.signing import PresignedUrls

_NIGHT = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
_ENDPOINTS = ("http://127.0.0.1:9000", "https://s3.example.com:443", "https://s3.amazonaws.com")


@pytest.mark.parametrize("endpoint", _ENDPOINTS)
@pytest.mark.parametrize("name", ["acme/run/step/output.json", "a/b~c_d.e-f", "with space/ü+%&?#"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_urls_are_those_of_the_minio_client(endpoint: str, name: str, method: str) -> None:
    config = StoreConfig(endpoint, "some/key", "some secret", "storage", "eu-central-1")
    bucket = Bucket(config)
    times = [_NIGHT + timedelta(seconds=seconds) for seconds in range(3)]  # the day's key changes
    urls = PresignedUrls(config, bucket, iter([time.timestamp() for time in times]).__next__)
    for time in times:
        expected = bucket.client.get_presigned_url(
            method, "storage", name, expires=timedelta(hours=2), request_date=time
        )
        assert str(urls.url(method, name)) == expected
    bucket.close()
