from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.support.certificates import CertificateFiles

from tls.authority import CertificateAuthority
from tls.files import CertificateInvalid, KeyPair, Reread, read_authorities, read_certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


def test_a_certificate_is_read_with_the_names_it_is_for_and_when_it_expires(
    files: CertificateFiles,
) -> None:
    found = read_certificate(files.issue("one", "runs", "localhost", "127.0.0.1", days=2))

    assert found.dns_names == ("runs", "localhost")
    assert timedelta(days=1.9) < found.expires - datetime.now(UTC) < timedelta(days=2)


def test_what_is_wrong_with_a_certificate_is_reported_in_words(files: CertificateFiles) -> None:
    good, other = files.issue("good", "runs"), files.issue("other", "runs")
    expired = files.issue("expired", "runs", starts=datetime.now(UTC) - timedelta(days=3))
    empty = files.folder / "empty.pem"
    empty.write_text("nothing")
    gone = files.folder / "gone.pem"

    for pair, words in (
        (KeyPair(good.cert_file, other.key_file), "is not that of"),
        (KeyPair(empty, good.key_file), "holds no certificate"),
        (KeyPair(good.cert_file, empty), "holds no private key"),
        (KeyPair(gone, good.key_file), "cannot be read: No such file"),
        (expired, "has expired"),
    ):
        with pytest.raises(CertificateInvalid, match=words):
            read_certificate(pair)


def test_without_a_file_those_are_trusted_whom_the_system_trusts(files: CertificateFiles) -> None:
    assert read_authorities(files.ca_file) == files.authority.certificate
    system = read_authorities(None)
    assert system is None or b"BEGIN CERTIFICATE" in system


def test_files_are_read_again_when_they_change_and_kept_while_they_are_broken(
    files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    pair = files.issue("server", "one")
    names = Reread((pair.cert_file, pair.key_file), lambda: read_certificate(pair).dns_names)
    assert not names.refresh()

    files.issue("server", "two")
    assert names.refresh()
    assert names.value == ("two",)

    key = pair.key_file.read_bytes()
    pair.key_file.write_bytes(key[: len(key) // 2])
    assert not names.refresh()
    assert not names.refresh()
    assert names.value == ("two",)
    failures = [r for r in caplog.records if vars(r)["event"] == "certificate.read_failed"]
    assert len(failures) == 1
    assert "holds no private key" in vars(failures[0])["why"]

    files.issue("server", "three")
    assert names.refresh()
    assert names.value == ("three",)


def test_what_kept_files_from_being_read_may_pass(
    files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    pair, troubles = files.issue("server", "one"), list[str]()

    def read() -> tuple[str, ...]:
        if troubles:
            raise CertificateInvalid(troubles.pop())
        return read_certificate(pair).dns_names

    names = Reread((pair.cert_file, pair.key_file), read)
    files.issue("server", "two")
    troubles += ["no such device", "too many files are open", "too many files are open"]

    assert [names.refresh() for _ in range(5)] == [False, False, False, True, False]

    assert names.value == ("two",)
    failures = [r for r in caplog.records if vars(r)["event"] == "certificate.read_failed"]
    assert [vars(r)["why"] for r in failures] == ["too many files are open", "no such device"]


def test_a_file_that_is_replaced_with_the_time_of_the_former_one_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    text, before = Reread((file,), file.read_text), file.stat()

    file.write_text("two")
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of a filesystem is coarse
        file.chmod(0o600)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert text.refresh()
    assert text.value == "two"


def test_an_authority_is_taken_up_again(files: CertificateFiles) -> None:
    authority = files.authority
    again = CertificateAuthority.load(authority.certificate, authority.key)

    assert again.certificate == authority.certificate
    assert again.issue(["runs"]).certificate != authority.issue(["runs"]).certificate
