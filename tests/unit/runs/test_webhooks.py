"""Which receivers webhooks may be sent to, and what messages are signed with."""

from __future__ import annotations

import base64
import hmac
from ipaddress import ip_network
from pathlib import Path

import pytest

from runs.domain.receivers import AllowedReceivers
from runs.domain.webhooks import WebhookSpec, seconds_until_retry, signature

# The example of https://www.standardwebhooks.com.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLIC = AllowedReceivers()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.9.9", "192.168.1.1", "169.254.169.254"),
        "0.0.0.0",  # noqa: S104 - is not bound to
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
        *("::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "2001:db8::1"),
        *("not an address", "127.1", ""),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not PUBLIC.allows(address, encrypted=True)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_a_public_address_is_allowed_over_tls_only(address: str) -> None:
    assert PUBLIC.allows(address, encrypted=True)
    assert not PUBLIC.allows(address, encrypted=False)


def test_networks_that_the_operator_names_are_allowed_without_tls() -> None:
    some = AllowedReceivers((ip_network("10.1.0.0/16"), ip_network("::1/128")))

    assert some.allows("10.1.2.3", encrypted=False)
    assert some.allows("::ffff:10.1.2.3", encrypted=False)
    assert some.allows("::1", encrypted=False)
    assert not some.allows("10.2.0.1", encrypted=True)
    assert not some.allows("127.0.0.1", encrypted=True)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "https://127.0.0.1/", "https://127.1/", "https://2130706433/"),
        *("https://[::1]:8443/", "https://[::ffff:7f00:1]/", "https://localhost/"),
        *("https://api.localhost/", "https://example.com:99999/", "https://[::1/"),
        # Written otherwise, and the same to the client that connects.
        *(
            "https://127\u30020\u30020\u30021/",
            "https://127\uff0e0\uff0e0\uff0e1/",
            "https://\uff11\uff12\uff17.0.0.1/",
        ),
        *(
            "https://169\u3002254\u3002169\u3002254/latest/",
            "https://%31%32%37.0.0.1/",
            "https://\u246027.0.0.1/",
        ),
        *("https://127%E3%80%820%E3%80%820%E3%80%821/", "https:///hook", "https://127.0.0.1./"),
        *(
            "https://\u24dbocalhost/",
            "https://LOCALHOST/",
            "https://localhost./",
            "https://[::1%25lo]/",
        ),
    ],
)
def test_a_url_that_leads_inside_is_refused_when_it_is_given(url: str) -> None:
    assert PUBLIC.fault(url)


def test_a_url_that_leads_outside_is_taken() -> None:
    assert PUBLIC.fault("https://example.com/hook?token=1") == ""


def test_a_signature_is_that_of_standard_webhooks() -> None:
    body = b'{"test": 2432232314}'
    made = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("types", "event", "taken"),
    [
        ((), "run.paused", True),
        ((), "step.failed", False),
        (("step.*",), "step.failed", True),
        (("step.*",), "run.failed", False),
        (("run.failed",), "run.failed", True),
        (("run.failed",), "run.completed", False),
    ],
)
def test_an_endpoint_takes_what_it_asked_for(
    types: tuple[str, ...], event: str, *, taken: bool
) -> None:
    assert WebhookSpec("https://example.com", types, ()).takes(event) is taken


def test_attempts_come_at_growing_distances_an_hour_at_most() -> None:
    for attempts, longest in ((1, 5), (2, 10), (5, 80), (11, 3_600), (10_000, 3_600)):
        assert 0.75 * longest <= seconds_until_retry(attempts) <= longest


def test_the_three_lines_of_the_page_verify_a_message() -> None:
    page = (Path(__file__).parents[3] / "docs" / "runs" / "webhooks.md").read_text()
    lines = page.partition("```python\n")[2].partition("```")[0]
    assert len(lines.splitlines()) == 3
    body, moment = b'{"type": "run.completed"}', 1_614_265_330
    sent = signature(SECRET, "r.1", moment, body)

    def valid(signatures: str, content: bytes) -> bool:
        said = {"secret": SECRET, "id": "r.1", "time": moment, "signatures": signatures}
        names = {"base64": base64, "hmac": hmac, "body": content, **said}
        exec(lines, names)  # noqa: S102 - our own page
        return bool(names["valid"])

    assert valid(sent, body)
    assert valid(f"v1,AAAA {sent}", body)
    assert not valid(sent, body + b" ")
    assert not valid("v1,AAAA", body)
