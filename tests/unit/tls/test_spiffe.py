from __future__ import annotations

import pytest

from tls.spiffe import is_trust_domain, spiffe_id, workload_of


def test_a_name_means_the_workload_for_which_it_was_made() -> None:
    assert workload_of(spiffe_id("example.org", "llm-gateway"), "example.org") == "llm-gateway"


@pytest.mark.parametrize(
    "name",
    [
        "spiffe://example.com/nagaya/runs",
        "spiffe://example.org.evil.com/nagaya/runs",
        "spiffe://example.org/nagaya/",
        "spiffe://example.org/nagaya/runs/more",
        "spiffe://example.org/nagaya/Runs",
        "spiffe://example.org/envoy",
        "spiffe://example.org/other/nagaya/runs",
        "https://example.org/nagaya/runs",
        "",
    ],
)
def test_no_other_name_means_a_workload(name: str) -> None:
    assert workload_of(name, "example.org") is None


def test_a_trust_domain_is_what_spiffe_allows() -> None:
    assert is_trust_domain("prod_1.nagaya-example.org")
    assert not any(map(is_trust_domain, ("", "Example.org", "example.org/x", "exämple.org", "a:1")))
