"""deploy/compose: Compose's own loader takes the file, and its parts get what they need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.support.compose_postgres import ComposePostgres
from tests.support.deployed import PROCESSES, problems, unread
from tests.support.processes import ServiceProcess
from tests.support.processes import running as serving

from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from servicekit.testing import Keys

CLONE = Path(__file__).resolve().parents[3]
IMAGE_SETTING = re.compile(r"\b(NAGAYA_\w+)=(\S+)")
INFRASTRUCTURE = {
    "postgres", "temporal-schema", "temporal", "temporal-namespace", "s3", "envoy",
}  # fmt: skip

pytestmark = pytest.mark.timeout(600)  # the first build of Compose's loader takes a while


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what its `prepare` has made."""
    deploy = tmp_path_factory.mktemp("clone") / "deploy"
    for name in ("compose", "k8s"):
        shutil.copytree(CLONE / "deploy" / name, deploy / name)
    nagaya = {"NAGAYA": str(Path(sys.executable).parent / "nagaya")}
    subprocess.run([deploy / "compose" / "prepare"], env=os.environ | nagaya, check=True)
    return deploy / "compose"


@pytest.fixture(scope="module")
def project(go_tools: Path, folder: Path) -> dict[str, Any]:
    """The file as Compose reads it: with .env, merged and normalised."""
    load = [go_tools / "compose", "compose.yaml"]
    done = subprocess.run(load, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_compose_takes_the_file(project: dict[str, Any]) -> None:
    assert set(project["services"]) == {*PROCESSES, *INFRASTRUCTURE}


def test_whoever_waits_for_all_waits_for_what_ends_to_end_well(project: dict[str, Any]) -> None:
    """`up --wait` takes the end of any other container for a failure."""
    services = project["services"].values()
    ends = {
        name for name, one in project["services"].items() if one["restart"].startswith("on-failure")
    }
    awaited = {
        name
        for one in services
        for name, how in (one.get("depends_on") or {}).items()
        if how["condition"] == "service_completed_successfully"
    }

    assert ends == awaited == {"temporal-schema", "temporal-namespace"}


def test_connections_are_shared_out_among_the_replicas_that_its_page_allows(
    project: dict[str, Any],
) -> None:
    page = (CLONE / "docs" / "operations" / "compose.md").read_text()
    (workers,) = re.findall(r"--scale runs-worker=(\d+)", page)
    given = project["services"]["tenant"]["environment"]["NAGAYA_PROCESSES_PER_SERVICE"]

    assert int(given) >= int(workers) + len(["runs"])


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_is_given_what_it_needs_and_nothing_else(
    project: dict[str, Any], process: str
) -> None:
    variables = project["services"][process]["environment"]
    of_image = dict(IMAGE_SETTING.findall((CLONE / "deploy" / "Containerfile").read_text()))

    assert problems(process, of_image | variables) == []
    assert unread(process, variables) <= {"NAGAYA_ARTIFACTS_ADDRESS", "NAGAYA_LLM_GATEWAY_ADDRESS",
                                          "NAGAYA_TENANT_ADDRESS"}  # fmt: skip


@pytest.mark.parametrize("process", PROCESSES)
def test_every_file_that_a_process_is_given_is_there_for_its_user_alone(
    project: dict[str, Any], folder: Path, process: str
) -> None:
    service = project["services"][process]
    given = {str(Path("/run/secrets", one["target"])): one for one in service["secrets"]}
    named = {path for path in service["environment"].values() if path.startswith("/run/secrets/")}

    assert named == set(given)
    for secret in given.values():
        file = Path(project["secrets"][secret["source"]]["file"])
        assert file.is_relative_to(folder)
        status = file.stat()
        assert f"{status.st_uid}:{status.st_gid}" == service["user"]
        assert status.st_mode & 0o077 == 0


@pytest.mark.parametrize("process", PROCESSES)
def test_a_service_is_confined_and_no_root(project: dict[str, Any], process: str) -> None:
    service = project["services"][process]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not service["user"].startswith("0:")
    assert service["build"]["args"]["SERVICE"] == process


def test_what_was_made_is_not_made_again(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    nagaya = {"NAGAYA": str(Path(sys.executable).parent / "nagaya")}
    subprocess.run([folder / "prepare"], env=os.environ | nagaya, check=True)

    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


async def test_its_postgres_lets_each_role_into_its_own_databases_only(
    project: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    keys = Keys(tmp_path)
    service = project["services"]["postgres"]
    passwords = {name: service["environment"][name] for name in service["environment"]}
    rules = folder / "postgres" / "pg_hba.conf"
    server = ComposePostgres(tmp_path / "postgres", free_port(), service["command"], rules)

    async with running(server, tmp_path / "postgres.log"):
        server.check(service["healthcheck"]["test"])
        server.make_roles(folder / "postgres" / "roles.sh", passwords)
        provisioner = ("nagaya_provisioner", passwords["NAGAYA_PG_PASSWORD"])
        temporal = ("temporal", passwords["TEMPORAL_PG_PASSWORD"])

        for role, database in ((provisioner, "nagaya"), (temporal, "temporal_visibility")):
            await (await asyncpg.connect(server.url(*role, database))).close()
        for role, database in ((temporal, "nagaya"), (provisioner, "temporal")):
            with pytest.raises(asyncpg.PostgresError):
                await asyncpg.connect(server.url(*role, database))
        settings = {
            "NAGAYA_PG_URL": server.url(*provisioner, "nagaya"),
            "NAGAYA_KEYRING_FILE": str(folder / "secrets" / "keyring.json"),
            "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("tenant")),
        }
        tenant = ServiceProcess("tenant", "tenant", keys, tmp_path, settings)
        with serving(tenant):
            assert '"warning"' not in tenant.log.read_text()
