"""Workloads that their certificates name, alone and beside a token."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.certificates import TRUST_DOMAIN, CertificateFiles
from tests.unit.interceptor.probe import Answer, binding
from tests.unit.interceptor.tls_calls import OF_NO_TENANT, ask, at, refusal

from interceptor.testing import serve
from servicekit.call import current_principal, on_behalf_of
from servicekit.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from servicekit.testing import Keys


async def whoami(_: object, __: object) -> Answer:
    principal = current_principal()
    return Answer(text=f"{principal.user_id} {principal.workload} {sorted(principal.tenants)}")


async def test_a_certificate_alone_is_the_workload_for_itself(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=whoami), tls=files.server_with_clients()) as server:
        runs = at(server, files.workload("runs"))
        assert await ask(runs, request=OF_NO_TENANT) == "workload:runs runs []"
        for_a_tenant = await refusal(ask(runs))
        of_another = await refusal(
            ask(at(server, files.workload("artifacts")), request=OF_NO_TENANT)
        )

    assert isinstance(for_a_tenant, Forbidden)
    assert of_another.message.startswith("the service artifacts may not call this method")


async def test_with_a_token_a_workload_acts_for_people_and_tenants(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=whoami), tls=files.server_with_clients()) as server:
        with on_behalf_of("acme", "ada"):
            text = await ask(at(server, files.workload("runs")), keys.signer("runs"))
        person = await ask(at(server, files.workload("runs")), token=keys.token())

    assert text == "ada runs ['acme']"
    assert person == "ada None ['*']"


async def test_a_token_of_another_workload_than_the_certificate_is_refused(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=whoami), tls=files.server_with_clients()) as server:
        error = await refusal(ask(at(server, files.workload("artifacts")), keys.signer("runs")))

    assert isinstance(error, Unauthenticated)
    assert error.reason == "ERROR_REASON_TOKEN_INVALID"
    assert error.message == (
        "the token is of the service runs, and the certificate of the connection of artifacts. "
        "Give each service a key and a certificate of its own name."
    )


@pytest.mark.parametrize(
    "uri",
    [
        f"spiffe://{TRUST_DOMAIN}/envoy",
        "spiffe://elsewhere.test/nagaya/runs",
        f"https://{TRUST_DOMAIN}/nagaya/runs",
    ],
)
async def test_other_certificates_name_nobody_and_tokens_decide(
    keys: Keys, files: CertificateFiles, uri: str
) -> None:
    async with serve(keys, binding(Ask=whoami), tls=files.server_with_clients()) as server:
        proxy = at(server, files.workload("proxy", uri))
        assert await ask(proxy, token=keys.token()) == "ada None ['*']"
        with on_behalf_of("acme"):
            assert await ask(proxy, keys.signer("runs")) == "workload:runs runs ['acme']"
        error = await refusal(ask(proxy, request=OF_NO_TENANT))

    assert error.reason == "ERROR_REASON_TOKEN_MISSING"


async def test_without_a_trust_domain_certificates_name_nobody(
    keys: Keys, files: CertificateFiles
) -> None:
    tls = replace(files.server_with_clients(), trust_domain="")
    async with serve(keys, binding(Ask=whoami), tls=tls) as server:
        error = await refusal(ask(at(server, files.workload("runs")), request=OF_NO_TENANT))

    assert error.reason == "ERROR_REASON_TOKEN_MISSING"
