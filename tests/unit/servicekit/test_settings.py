from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from servicekit.settings import Environment, ServerConfig, SettingsInvalid

if TYPE_CHECKING:
    from pathlib import Path


def test_settings_are_read_with_their_types(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    environment = Environment(
        {"A": "text", "B": "7", "C": "0.5", "D": "true", "E": "h:80", "F": str(secret)}
    )

    assert environment.text("A") == "text"
    assert environment.integer("B") == 7
    assert environment.seconds("C") == 0.5
    assert environment.flag("D") is True
    assert environment.address("E") == ("h", 80)
    assert environment.path("F") == secret
    assert environment.secret_file("F") == "hush"
    assert environment.text("X", "default") == "default"
    assert environment.flag("X", default=False) is False
    environment.done()


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    open_secret = tmp_path / "key"
    open_secret.write_text("hush")
    open_secret.chmod(0o644)
    environment = Environment(
        {"B": "seven", "C": "-1", "D": "yes", "E": "80", "F": "/nowhere", "G": str(open_secret)}
    )
    environment.text("A")
    environment.integer("B")
    environment.seconds("C")
    environment.flag("D")
    environment.address("E")
    environment.path("F")
    environment.secret_file("G")
    environment.integer("H", 7, least=8)

    with pytest.raises(SettingsInvalid) as told:
        environment.done()

    assert [problem[0] for problem in told.value.problems] == list("ABCDEFG")
    assert "hush" not in str(told.value)


def test_a_server_s_settings_name_what_is_missing() -> None:
    environment = Environment({})
    ServerConfig.from_environment(environment)

    with pytest.raises(SettingsInvalid) as told:
        environment.done()

    assert told.value.problems == [
        "NAGAYA_LISTEN is not set",
        "NAGAYA_JWKS_FILE is not set",
        "NAGAYA_TOKEN_ISSUER is not set",
        "NAGAYA_WORKLOAD_KEY_FILE is not set",
    ]
