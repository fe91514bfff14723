from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.certificates import CertificateFiles

from servicekit.settings import Environment, ServerConfig, Setting, SettingsInvalid, read
from tls.config import ClientTls

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("hush \n")
    file.chmod(0o600)
    return file


def test_settings_are_read_with_their_types(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    environment = Environment(
        {"A": "text", "B": "7", "C": "0.5", "D": "true", "E": "h:80", "F": str(secret)}
    )

    assert environment.text("A", "why") == "text"
    assert environment.integer("B", "why") == 7
    assert environment.seconds("C", "why") == 0.5
    assert environment.flag("D", "why") is True
    assert environment.address("E", "why") == ("h", 80)
    assert environment.path("F", "why") == secret
    assert environment.private_file("F", "why") == secret
    assert environment.text("X", "why", default="default") == "default"
    assert environment.flag("X", "why", default=False) is False
    environment.done()


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    open_secret = tmp_path / "key"
    open_secret.write_text("hush")
    open_secret.chmod(0o644)
    environment = Environment(
        {"B": "seven", "C": "-1", "D": "yes", "E": "80", "F": "/nowhere", "G": str(open_secret)}
    )
    environment.text("A", "why")
    environment.integer("B", "why")
    environment.seconds("C", "why")
    environment.flag("D", "why")
    environment.address("E", "why")
    environment.path("F", "why")
    environment.private_file("G", "why")
    environment.integer("H", "why", default=7, least=8)

    with pytest.raises(SettingsInvalid) as raised:
        environment.done()

    assert [problem[0] for problem in raised.value.problems] == list("ABCDEFG")
    assert "hush" not in str(raised.value)


def test_a_secret_is_given_in_its_variable_or_in_a_file(secret: Path) -> None:
    environment = Environment({"A": "by value", "B_FILE": str(secret)})

    assert environment.secret("A", "why") == "by value"
    assert environment.secret("B", "why") == "hush "  # without the newline of an editor
    assert environment.secret("C", "why", default="") == ""
    environment.done()
    assert [setting.name for setting in environment.settings] == [
        "A", "A_FILE", "B", "B_FILE", "C", "C_FILE"
    ]  # fmt: skip


def test_a_secret_given_twice_or_not_at_all_is_a_problem(secret: Path) -> None:
    environment = Environment({"A": "hush", "A_FILE": str(secret)})
    environment.secret("A", "why")
    environment.secret("B", "why")

    with pytest.raises(SettingsInvalid) as refused:
        environment.done()
    assert refused.value.problems == [
        "A and A_FILE are both set: which one is meant?",
        "B is not set, nor B_FILE: why",
    ]


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"hush", 0o644, "others may read it: chmod 600 it"),
        (b"hush", 0o620, "others may read it: chmod 600 it"),
        (b"\n", 0o600, "it is empty"),
        (b"hush\xff", 0o600, "it holds no text"),
        (None, 0, "there is no such file"),
    ],
)
def test_a_file_that_cannot_hold_a_secret_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    environment = Environment({"A_FILE": str(file)})
    environment.secret("A", "why")

    with pytest.raises(SettingsInvalid) as refused:
        environment.done()
    assert refused.value.problems == [f"A_FILE={file}: {words}"]


@pytest.mark.parametrize(
    ("read", "raw", "words"),
    [
        ("integer", "seven", "not a whole number from 0 to"),
        ("integer", "1e3", "not a whole number from 0 to"),
        ("seconds", "x", "not a number of seconds"),
        ("seconds", "nan", "not a number of seconds"),
        ("address", "https://tenant:7000", "host:port is meant, without a scheme"),
        ("peer", "ftp://tenant:7000", "begins with ftp://, and there is no such kind"),
        ("peer", "tenant", "is not host:port"),
        ("path", "https://issuer/jwks.json", "a file is meant: fetch what is at the address"),
    ],
)
def test_a_problem_is_reported_in_words(read: str, raw: str, words: str) -> None:
    environment = Environment({"A": raw})
    getattr(environment, read)("A", "why")

    with pytest.raises(SettingsInvalid) as refused:
        environment.done()
    (problem,) = refused.value.problems
    assert problem.startswith(f"A={raw}: {words}")


@pytest.mark.parametrize("address", ["tenant:7000", "[::1]:7000", "dns:///tenant.internal:7000"])
def test_a_peer_is_read_as_grpc_names_it(address: str) -> None:
    environment = Environment({"A": address})

    assert environment.peer("A", "why").target == address
    environment.done()


def test_a_peer_by_https_is_verified_as_the_settings_say(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    own = files.issue("own", "runs")
    variables = {
        "A": "https://tenant:7000",
        "NAGAYA_CA_FILE": str(files.ca_file),
        "NAGAYA_TLS_CERT_FILE": str(own.cert_file),
        "NAGAYA_TLS_KEY_FILE": str(own.key_file),
    }
    environment = Environment(variables)

    assert environment.peer("A", "why").tls == ClientTls(files.ca_file, own)
    assert environment.optional_peer("B", "why") is None
    environment.done()


def test_what_is_wrong_with_the_files_of_tls_is_reported_with_everything_else(
    tmp_path: Path,
) -> None:
    files = CertificateFiles(tmp_path)
    own, other = files.issue("own", "runs"), files.issue("other", "runs")
    wrong = {
        "NAGAYA_CA_FILE": str(own.key_file),
        "NAGAYA_TLS_CERT_FILE": str(own.cert_file),
        "NAGAYA_TLS_KEY_FILE": str(other.key_file),
        "NAGAYA_TLS_TRUST_DOMAIN": "Example.org",
    }
    with pytest.raises(SettingsInvalid) as raised:
        read(ServerConfig.from_environment, wrong)

    problems = raised.value.problems
    for words in (
        "holds no certificate (PEM)",
        "is not that of",
        "NAGAYA_TLS_TRUST_DOMAIN=Example.org: not a name of a-z",
        "NAGAYA_TLS_TRUST_DOMAIN needs NAGAYA_TLS_CLIENT_CA_FILE",
    ):
        assert any(words in problem for problem in problems), words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("NAGAYA_TLS_CERT_FILE",), "belong together"),
        (("NAGAYA_TLS_CLIENT_CA_FILE",), "needs NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE"),
    ],
)
def test_files_that_mean_nothing_alone_are_refused(
    tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    files = CertificateFiles(tmp_path)
    with pytest.raises(SettingsInvalid) as raised:
        read(ServerConfig.from_environment, dict.fromkeys(given, str(files.ca_file)))

    assert any(words in problem for problem in raised.value.problems)


def test_a_misspelt_setting_is_not_ignored() -> None:
    variables = {
        "NAGAYA_LISTENN": "127.0.0.1:7000",
        "NAGAYA_LISTEN": "127.0.0.1:7001",
        "NAGAYA_PG_URL": "another service's",
        "NAGAYA_RUNS_PORT": "what Kubernetes sets",
    }
    environment = Environment(variables)
    environment.address("NAGAYA_LISTEN", "why")

    with pytest.raises(SettingsInvalid) as raised:
        environment.done()
    assert raised.value.problems == [
        "NAGAYA_LISTENN is read by nobody: is NAGAYA_LISTEN meant?",
    ]


def test_a_setting_under_its_former_name_is_refused_with_the_new_one() -> None:
    environment = Environment({"NAGAYA_LANDING_SECONDS": "300"})
    environment.renamed("NAGAYA_LANDING_SECONDS", "NAGAYA_SHUTDOWN_GRACE_SECONDS")

    with pytest.raises(SettingsInvalid) as raised:
        environment.done()
    assert raised.value.problems == [
        "NAGAYA_LANDING_SECONDS is read by nobody: it is called NAGAYA_SHUTDOWN_GRACE_SECONDS now",
    ]


def test_what_was_read_is_known_with_its_meaning_and_its_default() -> None:
    environment = Environment({"B": "8"})
    environment.text("A", "a name")
    environment.integer("B", "a number", default=7)

    assert environment.settings == [Setting("A", "a name", None), Setting("B", "a number", 7)]


def test_a_server_s_settings_name_what_is_missing_and_what_it_means() -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read(ServerConfig.from_environment, {})

    assert raised.value.problems == [
        "NAGAYA_LISTEN is not set: `host:port` of the API; the metrics are on its host",
        "NAGAYA_JWKS_FILE is not set: "
        "public keys of the issuer and of the workloads; read again when it changes",
        "NAGAYA_WORKLOAD_KEY_FILE is not set: the private key of this workload, in PEM, mode 0600",
    ]


def test_a_log_level_that_does_not_exist_is_a_problem_like_any_other() -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read(ServerConfig.from_environment, {"NAGAYA_LOG_LEVEL": "chatty"})

    assert "NAGAYA_LOG_LEVEL=chatty: not debug, info, warning or error" in raised.value.problems
