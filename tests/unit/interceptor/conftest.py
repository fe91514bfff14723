from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.certificates import CertificateFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path / "ours")


@pytest.fixture
def strangers(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path / "theirs", "stranger")
