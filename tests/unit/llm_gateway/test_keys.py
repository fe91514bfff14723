"""The providers' keys follow their file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llm_gateway.errors import ProviderKeyMissing, ProviderKeyUnusable
from llm_gateway.providers.keys import KeysFileMalformed, ProviderKeys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"claude": "first"}))
    return path


def replace(file: Path, content: str) -> None:
    """Write as operators do: beside it, then in its place."""
    other = file.with_suffix(".new")
    other.write_text(content)
    other.replace(file)


def test_a_changed_file_is_read_again(file: Path) -> None:
    keys = ProviderKeys(file)
    assert keys.of("claude") == "first"

    replace(file, json.dumps({"claude": "second", "openai": "new"}))

    assert (keys.of("claude"), keys.of("openai")) == ("second", "new")


@pytest.mark.parametrize("content", ["{", "[]", '{"claude": 5}'])
def test_a_file_that_became_unreadable_changes_nothing(
    file: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ProviderKeys(file)
    replace(file, content)

    assert keys.of("claude") == "first"
    assert "cannot be read" in caplog.text
    assert "first" not in caplog.text


def test_a_file_that_vanished_changes_nothing(file: Path) -> None:
    keys = ProviderKeys(file)
    file.unlink()

    assert keys.of("claude") == "first"


@pytest.mark.parametrize("provider_id", ["gemini", ""])
def test_a_provider_without_a_key_is_refused(file: Path, provider_id: str) -> None:
    with pytest.raises(ProviderKeyMissing):
        ProviderKeys(file).of(provider_id)


@pytest.mark.parametrize("key", ["key\n", " key", "key\r\n", "\tkey "])
def test_white_space_round_a_key_is_taken_off(file: Path, key: str) -> None:
    file.write_text(json.dumps({"claude": key}))

    assert ProviderKeys(file).of("claude") == "key"


@pytest.mark.parametrize("key", ["k\ney", "k ey", "kéy", "k\0ey", "鍵"])
def test_a_key_that_no_header_can_carry_is_refused_without_quoting_it(file: Path, key: str) -> None:
    file.write_text(json.dumps({"claude": key}))

    with pytest.raises(ProviderKeyUnusable) as refused:
        ProviderKeys(file).of("claude")

    assert key not in str(refused.value)


def test_a_malformed_file_is_refused_without_quoting_it(file: Path) -> None:
    file.write_text('{"claude": ["a-secret"]}')

    with pytest.raises(KeysFileMalformed) as refused:
        ProviderKeys(file)

    assert "a-secret" not in str(refused.value)
