"""Fault tests need a stack of their own: what they do to it, no other test should meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.house import House, running_house
from tests.e2e.installed import install_functions

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    functions = tmp_path_factory.mktemp("functions")
    install_functions(functions)
    with running_house(tmp_path_factory.mktemp("house"), PYTHONPATH=str(functions)) as house:
        yield house
