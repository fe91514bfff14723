"""Where Nagaya is and who calls: the nearest place that says it wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from nagaya_client.errors import SettingsInvalid
from nagaya_client.settings import SERVICES, Settings, read_settings

FLAGS = {"runs_address": "flag:1", "token_file": "flag.jwt", "tenant": "flag"}
ENVIRONMENT = {
    "NAGAYA_RUNS_ADDRESS": "env:1",
    "NAGAYA_TOKEN": "env",
    "NAGAYA_TENANT": "env",
}
PROFILE = 'runs_address = "profile:1"\ntoken_file = "profile.jwt"\ntenant = "profile"'


class UploadTarget:
    """A folder with a configuration, and a local stack further up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone" / "examples" / "article"
        self.folder.mkdir(parents=True)
        self.config = folder / "config" / "nagaya" / "config.toml"
        self.config.parent.mkdir(parents=True)
        self._dev = folder / "clone" / "var" / "dev"
        self._environment = {"XDG_CONFIG_HOME": str(folder / "config")}

    def profiles(self, **content: str) -> None:
        tables = (f"[profile.{name}]\n{lines}\n" for name, lines in content.items())
        self.config.write_text("\n".join(tables))

    def stack(self, host: str = "127.0.0.1") -> None:
        (self._dev / "tokens").mkdir(parents=True)
        (self._dev / "tokens" / "operator.jwt").write_text("operator\n")
        lines = [f"NAGAYA_{name.upper()}_ADDRESS={host}:7" for name in SERVICES]
        (self._dev / "endpoints.env").write_text("\n".join([*lines, "S3_ENDPOINT=http://s3"]))

    def read(self, flags: dict[str, str] | None = None, **environment: str) -> Settings:
        return read_settings(flags, environment=self._environment | environment, folder=self.folder)


@pytest.fixture
def place(tmp_path: Path) -> UploadTarget:
    return UploadTarget(tmp_path)


@pytest.mark.parametrize("nearest", ["flag", "env", "profile", "local"])
def test_each_value_comes_from_the_nearest_place(place: UploadTarget, nearest: str) -> None:
    order = ["flag", "env", "profile", "local"]
    present = order[order.index(nearest) :]
    place.stack()
    if "profile" in present:
        place.profiles(default=PROFILE)

    settings = place.read(
        FLAGS if "flag" in present else None, **(ENVIRONMENT if "env" in present else {})
    )

    expected = {"local": "127.0.0.1:7"}
    assert settings.address("runs") == expected.get(nearest, f"{nearest}:1")
    assert settings.address("tenant") == "127.0.0.1:7"  # only the stack says it
    assert settings.tenant == ("" if nearest == "local" else nearest)


async def test_a_token_goes_with_the_place_that_names_it(
    place: UploadTarget, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jwt"
    file.write_text("mine\n")

    given = {"runs_address": "x:1"}
    assert await place.read(given, NAGAYA_TOKEN="direct").token.read() == "direct"
    assert await place.read(given, NAGAYA_TOKEN_FILE=str(file)).token.read() == "mine"
    both = place.read({**given, "token_file": str(file)}, NAGAYA_TOKEN="direct")
    assert await both.token.read() == "mine"


def test_a_token_is_in_no_representation(place: UploadTarget) -> None:
    settings = place.read({"runs_address": "x:1"}, NAGAYA_TOKEN="secret")
    assert "secret" not in repr(settings)


async def test_the_local_stack_is_found_from_any_folder_of_the_clone(place: UploadTarget) -> None:
    place.stack()
    settings = place.read()
    assert dict(settings.addresses) == dict.fromkeys(SERVICES, "127.0.0.1:7")
    assert await settings.token.read() == "operator"


@pytest.mark.parametrize(
    "host", ["https://nagaya.example.com", "dns:///localhost", "127.0.0.1.example.com", "ftp://x"]
)
def test_a_local_stack_elsewhere_is_none(place: UploadTarget, host: str) -> None:
    place.stack(host)
    with pytest.raises(SettingsInvalid, match="no Nagaya found"):
        place.read(NAGAYA_TOKEN="mine")
    assert dict(place.read({"runs_address": "x:1"}, NAGAYA_TOKEN="mine").addresses) == {
        "runs": "x:1"
    }


def test_another_user_s_local_stack_is_none(
    place: UploadTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.stack()
    others = (place._dev / "endpoints.env").stat().st_uid + 1
    monkeypatch.setattr("os.getuid", lambda: others)
    with pytest.raises(SettingsInvalid, match="no Nagaya found"):
        place.read(NAGAYA_TOKEN="mine")


async def test_the_local_token_is_not_sent_to_another_machine(place: UploadTarget) -> None:
    place.stack()
    with pytest.raises(SettingsInvalid, match="no token found"):
        place.read({"address": "nagaya.example.com:443"})
    for here in ("localhost:9", "https://127.0.0.1:9", "[::1]:9"):
        assert await place.read({"runs_address": here}).token.read() == "operator"


def test_why_the_local_token_is_not_sent_is_reported(place: UploadTarget) -> None:
    place.stack()
    with pytest.raises(SettingsInvalid) as refused:
        place.read({"address": "nagaya.example.com:443"})
    assert "sent to this machine only" in refused.value.hint


@pytest.mark.parametrize(
    ("given", "trusted"),
    [
        ({}, True),
        ({"runs_address": "127.0.0.1:1"}, True),
        ({"runs_address": "https://localhost:8"}, True),
        ({"runs_address": "https://nagaya.example.com"}, False),
    ],
)
def test_the_local_stack_s_authority_is_trusted_for_this_machine_only(
    place: UploadTarget, given: dict[str, str], *, trusted: bool
) -> None:
    place.stack(host="https://127.0.0.1")
    endpoints = place._dev / "endpoints.env"
    endpoints.write_text(endpoints.read_text() + "\nNAGAYA_CA_FILE=/clone/ca.pem")

    settings = place.read(given, NAGAYA_TOKEN="t")
    assert settings.ca_file == (Path("/clone/ca.pem") if trusted else None)


def test_an_address_without_a_port_is_named(place: UploadTarget) -> None:
    with pytest.raises(SettingsInvalid, match="the address example is not host:port"):
        place.read({"address": "example"}, NAGAYA_TOKEN="t")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ftp://example.com:21", "begins with ftp://, and there is no such kind"),
        ("grpcs://example.com:80", "begins with grpcs://, and there is no such kind"),
        ("example.com:http", "has no port: http is none"),
        ("example.com:70000", "has no port: 70000 is none"),
        (":7000", "is not host:port"),
    ],
)
def test_an_address_of_no_kind_is_reported_before_anything_else(
    place: UploadTarget, address: str, expected: str
) -> None:
    with pytest.raises(SettingsInvalid, match=f"the address {address} {expected}"):
        place.read({"address": address})


def test_one_address_stands_for_all_services(place: UploadTarget) -> None:
    settings = place.read({"address": "https://nagaya.example.com"}, NAGAYA_TOKEN="t")
    assert set(settings.addresses.values()) == {"https://nagaya.example.com"}


def test_a_service_without_address_is_named_when_it_is_needed(place: UploadTarget) -> None:
    settings = place.read(NAGAYA_RUNS_ADDRESS="x:1", NAGAYA_TOKEN="t")
    with pytest.raises(SettingsInvalid, match="the llm-gateway service") as refused:
        settings.address("llm_gateway")
    assert "NAGAYA_LLM_GATEWAY_ADDRESS" in refused.value.hint


def test_a_profile_is_chosen_by_name(place: UploadTarget) -> None:
    place.profiles(
        default='address = "default:1"\ntoken_file = "t"',
        prod='address = "prod:1"\nruns_address = "runs:1"\ntoken_file = "t"\nca_file = "~/ca.pem"',
    )
    assert place.read().address("tenant") == "default:1"
    prod = place.read(NAGAYA_PROFILE="prod")
    assert (prod.address("tenant"), prod.address("runs")) == ("prod:1", "runs:1")
    assert prod.ca_file is not None
    assert prod.ca_file.is_absolute()
    assert place.read({"profile": "default"}, NAGAYA_PROFILE="prod").address("runs") == "default:1"


def test_an_unknown_profile_names_those_that_there_are(place: UploadTarget) -> None:
    place.profiles(default="", prod="")
    with pytest.raises(SettingsInvalid, match="'prdo'") as refused:
        place.read(NAGAYA_PROFILE="prdo")
    assert "default, prod" in refused.value.hint


def test_an_unknown_key_suggests_the_right_one(place: UploadTarget) -> None:
    place.profiles(default='token_fiel = "x"')
    with pytest.raises(SettingsInvalid, match="token_fiel") as refused:
        place.read()
    assert refused.value.hint == "Did you mean 'token_file'?"


def test_a_configuration_that_is_no_toml_is_named(place: UploadTarget) -> None:
    place.config.write_text("[profile")
    with pytest.raises(SettingsInvalid, match=r"config\.toml cannot be read"):
        place.read()


async def test_a_missing_token_file_is_named_when_it_is_needed(place: UploadTarget) -> None:
    settings = place.read({"runs_address": "x:1", "token_file": "/no/such/file"})
    with pytest.raises(SettingsInvalid, match="/no/such/file cannot be read: No such file"):
        await settings.token.read()


async def test_an_empty_token_file_is_named(place: UploadTarget, tmp_path: Path) -> None:
    file = tmp_path / "empty.jwt"
    file.write_text("\n")
    settings = place.read({"runs_address": "x:1", "token_file": str(file)})
    with pytest.raises(SettingsInvalid, match=r"empty\.jwt is empty"):
        await settings.token.read()


def test_nothing_at_all_is_an_error_that_helps(place: UploadTarget) -> None:
    with pytest.raises(SettingsInvalid, match="no Nagaya found") as refused:
        place.read()
    assert "`nagaya dev up` starts one here" in refused.value.hint
