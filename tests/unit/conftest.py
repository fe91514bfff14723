from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from servicekit.testing import Keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder: Path = tmp_path_factory.mktemp("keys")
    return Keys(folder)
