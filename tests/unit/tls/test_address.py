from __future__ import annotations

from pathlib import Path

import pytest

from tls.address import ServerAddress
from tls.config import ClientTls

TLS = ClientTls(Path("/etc/ca.pem"))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("runs:7000", "runs:7000"),
        ("http://runs:7000", "runs:7000"),
        ("[::1]:7000", "[::1]:7000"),
        ("dns:///runs.internal:7000", "dns:///runs.internal:7000"),
        ("dns://10.0.0.2/runs:7000", "dns://10.0.0.2/runs:7000"),
    ],
)
def test_without_https_an_address_is_plaintext(text: str, target: str) -> None:
    address = ServerAddress.parse(text, TLS)

    assert (address.target, address.tls) == (target, None)
    assert address.balanced == text.startswith("dns")
    assert str(address) == target
    assert ServerAddress.parse(str(address), TLS) == address


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("https://runs:7000", "runs:7000"),
        ("https://runs.example.com", "runs.example.com:443"),
        ("https://[::1]", "[::1]:443"),
        ("dns+https:///runs:7000", "dns:///runs:7000"),
        ("dns+https://10.0.0.2/runs:7000", "dns://10.0.0.2/runs:7000"),
    ],
)
def test_with_https_it_is_tls_and_verified_as_the_settings_say(text: str, target: str) -> None:
    address = ServerAddress.parse(text, TLS)

    assert (address.target, address.tls) == (target, TLS)
    assert ServerAddress.parse(str(address), TLS) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runs", "is not host:port"),
        (":7000", "is not host:port"),
        ("http://runs", "is not host:port"),
        ("https://runs:7000/path", "has no port: 7000/path is none"),
        ("https://ada@runs:7000", "is not host:port"),
        ("https://$(POD_IP):7000", "is not host:port"),  # Kubernetes did not know the variable
        ("dns://runs:7000", "has no third slash"),
        ("dns+https://runs:7000", "has no third slash"),
        ("runs:http", "has no port: http is none"),
        ("runs:70000", "has no port: 70000 is none"),
        ("runs:0", "has no port: 0 is none"),
        ("grpcs://runs:7000", "begins with grpcs://, and there is no such kind"),
        ("unix:///run/socket:1", "begins with unix://, and there is no such kind"),
        ("xds:///runs:1", "begins with xds://, and there is no such kind"),
    ],
)
def test_anything_else_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        ServerAddress.parse(text, TLS)
