"""The settings of the gateway: what its other processes could not use is refused at the start."""

from __future__ import annotations

import pytest

from llm_gateway.config import Config
from servicekit.settings import Environment, SettingsInvalid


def _problems(**variables: str) -> list[str]:
    environment = Environment(variables)
    Config.from_environment(environment)
    with pytest.raises(SettingsInvalid) as refused:
        environment.done()  # files are missing in any case
    return [problem for problem in refused.value.problems if "NAGAYA_ENDPOINT" in problem]


@pytest.mark.parametrize("listen", ["0.0.0.0:7000", "[::]:7000"])
def test_an_address_of_all_interfaces_needs_one_that_others_reach(listen: str) -> None:
    (problem,) = _problems(NAGAYA_LISTEN=listen)

    assert "NAGAYA_ENDPOINT is not set" in problem
    assert _problems(NAGAYA_LISTEN=listen, NAGAYA_ENDPOINT="10.1.2.3:7000") == []


def test_a_single_address_is_the_one_that_others_reach() -> None:
    assert _problems(NAGAYA_LISTEN="10.1.2.3:7000") == []
