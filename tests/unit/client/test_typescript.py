"""The TypeScript client alone: its style, and its tests on a scripted server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.typescript import CLIENT, build_client, npm

from tls.authority import CertificateAuthority

if TYPE_CHECKING:
    from pathlib import Path

# What npm fetches and unpacks once.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_client()


def test_its_style_is_that_of_its_settings() -> None:
    npm("run", "check")


def test_its_own_tests_pass() -> None:
    npm("test")


def test_it_speaks_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = CertificateAuthority.create("an authority")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    for name, host in {"server": "127.0.0.1", "client": "client"}.items():
        issued = authority.issue([host])
        (tmp_path / f"{name}.pem").write_bytes(issued.certificate)
        (tmp_path / f"{name}-key.pem").write_bytes(issued.key)
    monkeypatch.setenv("NAGAYA_TEST_CERTIFICATES", str(tmp_path))

    npm("run", "test:tls")


def test_its_lock_holds_no_addresses_and_every_hash() -> None:
    packages = json.loads((CLIENT / "package-lock.json").read_text())["packages"]

    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
