"""deploy/k8s: what Kustomize makes of it is valid, and says to each process what it needs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from tests.support.deployed import PEERS, PROCESSES, problems, unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CLONE = Path(__file__).resolve().parents[3]
OVERLAYS = ("production", "small", "tls")
CUSTOM = "cert-manager.io/"  # whose schemas are not among those of Kubernetes
KUBERNETES = "1.34"
FILES = (
    "jwks.json", "tenant.pem", "artifacts.pem", "llm-gateway.pem", "runs.pem", "keyring.json",
    "pg-url", "s3-access-key", "s3-secret-key", "providers.json",
)  # fmt: skip
GRACE = {"llm-gateway": 30 + 30 + 2, "runs-worker": 20}
OTHERS_GRACE = 30

pytestmark = pytest.mark.timeout(600)  # the first build of Kustomize takes a minute
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def rendered(go_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """Each overlay's manifests, made of the files that an operator adds."""
    folder = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(CLONE / "deploy" / "k8s", folder)
    for name in FILES:
        (folder / "overlays" / "production" / "secrets" / name).write_text("x")
    return {overlay: _render(go_tools, folder / "overlays" / overlay) for overlay in OVERLAYS}


def _render(go_tools: Path, overlay: Path) -> list[Manifest]:
    done = subprocess.run(
        [go_tools / "kustomize", "build", str(overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return list(yaml.safe_load_all(done.stdout))


def _of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def _container(deployment: Manifest) -> Manifest:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def _own_variables(deployment: Manifest) -> dict[str, str]:
    """Return what stands beside a container; what the cluster fills in is an address."""
    return {
        item["name"]: item.get("value", "10.1.2.3")
        for item in _container(deployment).get("env", [])
    }


def _variables(manifests: list[Manifest], process: str) -> dict[str, str]:
    deployment = _of_kind(manifests, "Deployment")[process]
    (source,) = _container(deployment)["envFrom"]
    shared = _of_kind(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    own = _own_variables(deployment)
    found = shared | own
    return {
        name: value.replace("$(POD_IP)", own.get("POD_IP", "")) for name, value in found.items()
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(rendered: Mapping[str, list[Manifest]], overlay: str) -> None:
    for manifest in rendered[overlay]:
        if manifest["apiVersion"].startswith(CUSTOM):
            continue
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_is_given_what_it_needs(
    rendered: Mapping[str, list[Manifest]], overlay: str, process: str
) -> None:
    assert problems(process, _variables(rendered[overlay], process)) == []


@pytest.mark.parametrize("process", PROCESSES)
def test_what_stands_beside_a_container_is_read_by_its_process(
    rendered: Mapping[str, list[Manifest]], process: str
) -> None:
    own = _own_variables(_of_kind(rendered["production"], "Deployment")[process])

    assert unread(process, own) <= {"POD_IP"}


def test_what_all_are_given_is_read_by_one_of_them(rendered: Mapping[str, list[Manifest]]) -> None:
    manifests = rendered["production"]
    variables = {process: _variables(manifests, process) for process in PROCESSES}

    unknown = set.intersection(*(unread(process, found) for process, found in variables.items()))

    assert unknown == set()


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", PROCESSES)
def test_every_file_that_a_process_is_given_is_mounted(
    rendered: Mapping[str, list[Manifest]], process: str, overlay: str
) -> None:
    manifests = rendered[overlay]
    pod = _of_kind(manifests, "Deployment")[process]["spec"]["template"]["spec"]
    mounted = set(_mounted_files(manifests, pod))

    named = {value for value in _variables(manifests, process).values() if value.startswith("/")}

    assert {path for path in named if path in mounted or not path.startswith("/tmp")} <= mounted  # noqa: S108


def _mounted_files(manifests: list[Manifest], pod: Manifest) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        if mount["name"] == "tls":
            made = _of_kind(manifests, "Certificate").values()
            assert volume["secret"]["secretName"] in [one["spec"]["secretName"] for one in made]
            source: Manifest = {"data": ("tls.crt", "tls.key", "ca.crt")}
        elif "secret" in volume:
            source = _of_kind(manifests, "Secret")[volume["secret"]["secretName"]]
        elif "configMap" in volume:
            source = _of_kind(manifests, "ConfigMap")[volume["configMap"]["name"]]
        else:
            continue
        yield from (f"{mount['mountPath']}/{name}" for name in source["data"])


def test_connections_are_shared_out_among_all_processes_that_a_deployment_can_have(
    rendered: Mapping[str, list[Manifest]],
) -> None:
    manifests = rendered["production"]
    given = int(_variables(manifests, "tenant")["NAGAYA_PROCESSES_PER_SERVICE"])

    most = {process: _most_processes(manifests, process) for process in PROCESSES}

    assert max(most["artifacts"], most["llm-gateway"], most["runs"] + most["runs-worker"]) <= given


def _most_processes(manifests: list[Manifest], process: str) -> int:
    deployment = _of_kind(manifests, "Deployment")[process]["spec"]
    scaler = _of_kind(manifests, "HorizontalPodAutoscaler").get(process)
    replicas = scaler["spec"]["maxReplicas"] if scaler else deployment["replicas"]
    return replicas + deployment["strategy"]["rollingUpdate"]["maxSurge"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_confined(rendered: Mapping[str, list[Manifest]], overlay: str) -> None:
    deployments = _of_kind(rendered[overlay], "Deployment")
    assert set(deployments) == {*PROCESSES, "envoy"}

    for name, deployment in deployments.items():
        pod, container = deployment["spec"]["template"]["spec"], _container(deployment)
        confined = container["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert confined["readOnlyRootFilesystem"] is True, name
        assert confined["allowPrivilegeEscalation"] is False, name
        assert confined["capabilities"] == {"drop": ["ALL"]}, name
        assert container["image"].rpartition(":")[2] not in ("", "latest"), name
        assert container["resources"]["limits"]["memory"], name


@pytest.mark.parametrize("process", PROCESSES)
def test_a_pod_has_longer_to_end_than_its_process_takes(
    rendered: Mapping[str, list[Manifest]], process: str
) -> None:
    manifests = rendered["production"]
    pod = _of_kind(manifests, "Deployment")[process]["spec"]["template"]["spec"]
    drain = float(_variables(manifests, process)["NAGAYA_DRAIN_SECONDS"])

    assert pod["terminationGracePeriodSeconds"] > drain + GRACE.get(process, OTHERS_GRACE)


@pytest.mark.parametrize(
    ("caller", "peer"), [(caller, peer) for caller, peers in PEERS.items() for peer in peers]
)
def test_network_policies_admit_each_caller_to_its_peers(
    rendered: Mapping[str, list[Manifest]], caller: str, peer: str
) -> None:
    policies = _of_kind(rendered["production"], "NetworkPolicy")

    assert _selects(policies[caller]["spec"]["egress"], "to", peer)
    assert _selects(policies[peer]["spec"]["ingress"], "from", caller)


def test_envoy_reaches_every_service(rendered: Mapping[str, list[Manifest]]) -> None:
    policies = _of_kind(rendered["production"], "NetworkPolicy")
    services = set(_of_kind(rendered["production"], "Service")) - {"envoy"}

    assert services == set(PROCESSES) - {"runs-worker"}
    assert all(_selects(policies[name]["spec"]["ingress"], "from", "envoy") for name in services)
    configuration = next(
        found
        for name, found in _of_kind(rendered["production"], "ConfigMap").items()
        if name.startswith("envoy-")
    )
    clusters = json.loads(configuration["data"]["envoy.json"])["static_resources"]["clusters"]
    assert {cluster["name"] for cluster in clusters} == services


@pytest.mark.parametrize("process", PROCESSES)
def test_a_certificate_names_the_workload_and_the_address_by_which_it_is_called(
    rendered: Mapping[str, list[Manifest]], process: str
) -> None:
    manifests = rendered["tls"]
    pod = _of_kind(manifests, "Deployment")[process]["spec"]["template"]["spec"]
    (secret,) = (
        volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "tls"
    )
    certificates = _of_kind(manifests, "Certificate").values()
    (certificate,) = (one["spec"] for one in certificates if one["spec"]["secretName"] == secret)
    domain = _variables(manifests, process)["NAGAYA_TLS_TRUST_DOMAIN"]

    workload = process.removesuffix("-worker")

    assert certificate["uris"] == [f"spiffe://{domain}/nagaya/{workload}"]
    assert certificate["dnsNames"][0] == process
    assert set(certificate["usages"]) == {"server auth", "client auth"}


def test_no_probe_speaks_plaintext_grpc_to_a_port_with_tls(
    rendered: Mapping[str, list[Manifest]],
) -> None:
    for deployment in _of_kind(rendered["tls"], "Deployment").values():
        container = _container(deployment)
        assert "grpc" not in container["readinessProbe"]
        assert "grpc" not in container.get("livenessProbe", {})


def _selects(rules: list[Manifest], key: str, name: str) -> bool:
    selectors = [peer["podSelector"] for rule in rules for peer in rule.get(key, [])]
    return {"app.kubernetes.io/name": name} in [one.get("matchLabels") for one in selectors]


def test_a_small_installation_has_one_process_of_each(
    rendered: Mapping[str, list[Manifest]],
) -> None:
    manifests = rendered["small"]

    assert _of_kind(manifests, "HorizontalPodAutoscaler") == {}
    assert _of_kind(manifests, "PodDisruptionBudget") == {}
    replicas = [
        one["spec"].get("replicas", 1) for one in _of_kind(manifests, "Deployment").values()
    ]
    assert set(replicas) == {1}
