"""Fault tests need a stack of their own: what they do to it, no other test should meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.stack import LocalStack, running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
