"""HashiCorp Vault and AWS KMS: calls that their own clients understand, and what errors become."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

import botocore.session
import hvac
import pytest
from awscrt.auth import AwsCredentialsProvider
from tests.support.key_services import (
    ACCESS_KEY,
    REGION,
    SECRET_KEY,
    KmsDouble,
    VaultDouble,
    running_kms,
    running_vault,
)

from tenant.errors.keys import KeyManagementRefused, KeyManagementUnavailable
from tenant.key_management.aws import AwsKms
from tenant.key_management.vault import VaultTransit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONTEXT = {"purpose": "test", "key": "d1"}
KEY = bytes(range(32))


@pytest.fixture
async def vault() -> AsyncIterator[VaultDouble]:
    async with running_vault() as double:
        yield double


@pytest.fixture
async def kms() -> AsyncIterator[KmsDouble]:
    async with running_kms() as double:
        yield double


@pytest.fixture
async def transit(vault: VaultDouble, tmp_path: Path) -> AsyncIterator[VaultTransit]:
    token = tmp_path / "token"
    token.write_text("s.right\n")
    service = VaultTransit(vault.address, "transit", "nagaya", token)
    yield service
    await service.close()


def aws(kms: KmsDouble, secret_key: str = SECRET_KEY, key_id: str = "alias/nagaya") -> AwsKms:
    credentials = AwsCredentialsProvider.new_static(ACCESS_KEY, secret_key)
    return AwsKms(REGION, key_id, kms.address, credentials)


async def test_vault_gives_back_what_was_encrypted_also_after_its_key_was_rotated(
    vault: VaultDouble, transit: VaultTransit
) -> None:
    before = await transit.encrypt(KEY, CONTEXT)
    vault.rotate()
    after = await transit.encrypt(KEY, CONTEXT)

    assert (before[:9], after[:9]) == ("vault:v1:", "vault:v2:")
    assert [await transit.decrypt(each, CONTEXT) for each in (before, after)] == [KEY, KEY]


async def test_vaults_own_client_understands_what_the_double_says(
    vault: VaultDouble, transit: VaultTransit
) -> None:
    client = hvac.Client(url=vault.address, token="s.right")
    context = base64.b64encode(json.dumps(dict(sorted(CONTEXT.items()))).encode()).decode()
    ours = await transit.encrypt(KEY, CONTEXT)

    def by_hvac() -> str:
        response = client.secrets.transit.decrypt_data(
            "nagaya", ciphertext=ours, associated_data=context
        )
        return response["data"]["plaintext"]

    assert base64.b64decode(await asyncio.to_thread(by_hvac)) == KEY


async def test_what_vault_refuses_is_said_in_its_words(
    vault: VaultDouble, transit: VaultTransit, tmp_path: Path
) -> None:
    encrypted = await transit.encrypt(KEY, CONTEXT)
    with pytest.raises(KeyManagementRefused, match="authentication failed"):
        await transit.decrypt(encrypted, CONTEXT | {"key": "d2"})
    (tmp_path / "token").write_text("s.revoked")
    with pytest.raises(KeyManagementRefused, match="status 403: permission denied"):
        await transit.encrypt(KEY, CONTEXT)
    (tmp_path / "token").write_text("s.right")
    assert await transit.decrypt(encrypted, CONTEXT) == KEY


@pytest.mark.parametrize("status", [429, 472, 473, 500, 503])
async def test_a_vault_that_is_sealed_or_standing_by_is_away(
    vault: VaultDouble, transit: VaultTransit, status: int
) -> None:
    vault.status = status

    with pytest.raises(KeyManagementUnavailable, match=str(status)):
        await transit.encrypt(KEY, CONTEXT)


async def test_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    nowhere = "http://127.0.0.1:9"
    services = (
        VaultTransit(nowhere, "transit", "nagaya", tmp_path / "token"),
        AwsKms(REGION, "k", nowhere, AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY)),
    )
    for service in services:
        with pytest.raises(KeyManagementUnavailable):
            await service.encrypt(KEY, CONTEXT)
        await service.close()


async def test_aws_accepts_our_signature_and_gives_back_what_was_encrypted(kms: KmsDouble) -> None:
    service = aws(kms)

    encrypted = await service.encrypt(KEY, CONTEXT)

    assert await service.decrypt(encrypted, CONTEXT) == KEY
    assert kms.calls == ["Encrypt", "Decrypt"]
    with pytest.raises(KeyManagementRefused, match="InvalidCiphertextException"):
        await service.decrypt(encrypted, {})
    await service.close()


async def test_awss_own_client_understands_what_the_double_says(kms: KmsDouble) -> None:
    service = aws(kms)
    ours = await service.encrypt(KEY, CONTEXT)
    client = botocore.session.get_session().create_client(
        "kms",
        region_name=REGION,
        endpoint_url=kms.address,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )

    def by_botocore() -> tuple[bytes, bytes]:
        opened = client.decrypt(CiphertextBlob=base64.b64decode(ours), EncryptionContext=CONTEXT)
        made = client.encrypt(KeyId=kms.key_id, Plaintext=KEY, EncryptionContext=CONTEXT)
        return opened["Plaintext"], made["CiphertextBlob"]

    opened, theirs = await asyncio.to_thread(by_botocore)
    assert opened == KEY
    assert await service.decrypt(base64.b64encode(theirs).decode(), CONTEXT) == KEY
    await service.close()


async def test_what_aws_refuses_is_said_in_its_words(kms: KmsDouble) -> None:
    for service, words in (
        (aws(kms, secret_key="wrong"), "InvalidSignatureException"),
        (aws(kms, key_id="alias/other"), "NotFoundException Key alias/other is not found"),
    ):
        with pytest.raises(KeyManagementRefused, match=words):
            await service.encrypt(KEY, CONTEXT)
        await service.close()


@pytest.mark.parametrize("kind", ["ThrottlingException", "KMSInternalException"])
async def test_aws_that_throttles_is_away(kms: KmsDouble, kind: str) -> None:
    kms.failure = kind
    service = aws(kms)

    with pytest.raises(KeyManagementUnavailable, match=kind):
        await service.encrypt(KEY, CONTEXT)
    await service.close()
