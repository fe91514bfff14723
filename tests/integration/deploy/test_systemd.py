"""deploy/systemd: the unit is one that systemd takes, and each service is told what it needs."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.deployed import PROCESSES, problems, unread

UNITS = Path(__file__).resolve().parents[3] / "deploy" / "systemd"
UNIT = UNITS / "nagaya@.service"
ETC = UNITS / "etc" / "nagaya"


def _unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] - as its documentation says
    parser.read(UNIT)
    return parser


def _variables(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_example_settings_are_all_that_a_service_needs(process: str) -> None:
    common, own = _variables(ETC / "common.env"), _variables(ETC / process / "settings.env")

    assert problems(process, common | own) == []
    assert unread(process, own) == set()


def test_what_all_are_given_is_read_by_one_of_them() -> None:
    common = _variables(ETC / "common.env")

    assert set.intersection(*(unread(process, common) for process in PROCESSES)) == set()


def test_every_service_has_a_user_of_its_own() -> None:
    lines = (UNITS / "sysusers.conf").read_text().splitlines()

    users = {line.split()[1] for line in lines if line.startswith("u ")}

    assert users == {f"nagaya-{process}" for process in PROCESSES}
    assert _unit()["Service"]["User"] == "nagaya-%i"


def test_no_two_services_of_one_machine_listen_on_the_same_port() -> None:
    ports = [
        value.rpartition(":")[2]
        for process in PROCESSES
        for name, value in _variables(ETC / process / "settings.env").items()
        if name in ("NAGAYA_LISTEN", "NAGAYA_METRICS_PORT")
    ]

    assert len(ports) == len(set(ports)) == 2 * len(PROCESSES)


# It comes with systemd alone: containers have none, and no package of an index brings it.
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not on this machine"
)
@pytest.mark.parametrize("process", PROCESSES)
def test_systemd_takes_the_unit(process: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    shutil.copy(UNIT, units)
    for target in ("basic", "multi-user", "network-online", "shutdown", "sysinit"):
        (units / f"{target}.target").write_text("[Unit]\n")
    program = root / f"opt/nagaya/{process}/bin/serve"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    verify = ["systemd-analyze", "verify", f"--root={root}", f"nagaya@{process}.service"]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)

    said = [line for line in done.stderr.splitlines() if "nagaya@" in line]
    assert said == [], done.stderr
