"""The TypeScript client alone: its style, and its tests on a scripted server."""

from __future__ import annotations

import json

import pytest
from tests.support.typescript import CLIENT, build_client, npm

# What npm fetches and unpacks once.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_client()


def test_its_style_is_that_of_its_settings() -> None:
    npm("run", "check")


def test_its_own_tests_pass() -> None:
    npm("test")


def test_its_lock_holds_no_addresses_and_every_hash() -> None:
    packages = json.loads((CLIENT / "package-lock.json").read_text())["packages"]

    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
