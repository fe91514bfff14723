"""deploy/k8s: what Kustomize makes of it is valid, and says to each process what it needs."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
import yaml
from deploy.monitoring import queries
from tests.support.deployed import PEERS, PROCESSES, problems, unread
from tests.support.manifests import (
    OVERLAYS,
    container_of,
    of_kind,
    own_variables,
    render_all,
    variables_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.manifests import Manifest

CUSTOM = "cert-manager.io/"  # whose schemas are not among those of Kubernetes
KUBERNETES = "1.34"
GRACE = {"llm-gateway": 30 + 30 + 2, "runs-worker": 20}
OTHERS_GRACE = 30
DNS_SECONDS = 30
"""How long an answer is kept: by CoreDNS, and by clients of gRPC, which do not ask more often."""

pytestmark = pytest.mark.timeout(600)  # the first build of Kustomize takes a minute


@pytest.fixture(scope="module")
def rendered(go_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    return render_all(go_tools, tmp_path_factory.mktemp("k8s"))


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
    assert problems(process, variables_of(rendered[overlay], process)) == []


@pytest.mark.parametrize("process", PROCESSES)
def test_what_stands_beside_a_container_is_read_by_its_process(
    rendered: Mapping[str, list[Manifest]], process: str
) -> None:
    own = own_variables(of_kind(rendered["production"], "Deployment")[process])

    assert unread(process, own) <= {"POD_IP"}


def test_what_all_are_given_is_read_by_one_of_them(rendered: Mapping[str, list[Manifest]]) -> None:
    manifests = rendered["production"]
    variables = {process: variables_of(manifests, process) for process in PROCESSES}

    unknown = set.intersection(*(unread(process, found) for process, found in variables.items()))

    assert unknown == set()


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", PROCESSES)
def test_a_variable_names_only_those_that_stand_above_it(
    rendered: Mapping[str, list[Manifest]], overlay: str, process: str
) -> None:
    """Kubernetes leaves the names of others as they are."""
    found = variables_of(rendered[overlay], process)

    assert {name: value for name, value in found.items() if "$(" in value} == {}


def test_prometheus_finds_each_process_under_the_name_of_its_job(
    rendered: Mapping[str, list[Manifest]],
) -> None:
    config = yaml.safe_load((queries.FOLDER / "prometheus-kubernetes.yml").read_text())
    (job,) = config["scrape_configs"]
    pods = [each["spec"]["template"] for each in of_kind(rendered["tls"], "Deployment").values()]

    assert sorted(filter(None, (_job_of(pod, job) for pod in pods))) == sorted(
        re.findall(r'absent\(up\{job="(.*)"\}\)', queries.alerts()["NagayaJobAbsent"]["expr"])
    )
    assert job["kubernetes_sd_configs"][0]["namespaces"]["names"] == ["nagaya"]


def _job_of(pod: Manifest, job: Manifest) -> str:
    """Return the job of the port of a pod that relabelling keeps; nothing if it keeps none."""
    labels = {
        f"__meta_kubernetes_pod_label_{re.sub('[^a-z]', '_', name)}": value
        for name, value in pod["metadata"]["labels"].items()
    }
    found: list[str] = []
    for port in pod["spec"]["containers"][0]["ports"]:
        values = labels | {"__meta_kubernetes_pod_container_port_name": port["name"]}
        steps = job["relabel_configs"]
        texts = [(step, values.get(step["source_labels"][0], "")) for step in steps]
        if all(
            re.fullmatch(step["regex"], text)
            for step, text in texts
            if step.get("action") == "keep"
        ):
            (naming,) = (each for each in texts if each[0].get("target_label") == "job")
            found.append(naming[0]["replacement"].replace("$1", naming[1]))
    assert len(found) <= 1
    return "".join(found)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", PROCESSES)
def test_every_file_that_a_process_is_given_is_mounted(
    rendered: Mapping[str, list[Manifest]], process: str, overlay: str
) -> None:
    manifests = rendered[overlay]
    pod = of_kind(manifests, "Deployment")[process]["spec"]["template"]["spec"]
    mounted = set(_mounted_files(manifests, pod))

    named = {value for value in variables_of(manifests, process).values() if value.startswith("/")}

    assert {path for path in named if path in mounted or not path.startswith("/tmp")} <= mounted  # noqa: S108


def _mounted_files(manifests: list[Manifest], pod: Manifest) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        if mount["name"] == "tls":
            made = of_kind(manifests, "Certificate").values()
            assert volume["secret"]["secretName"] in [one["spec"]["secretName"] for one in made]
            source: Manifest = {"data": ("tls.crt", "tls.key", "ca.crt")}
        elif "secret" in volume:
            source = of_kind(manifests, "Secret")[volume["secret"]["secretName"]]
        elif "configMap" in volume:
            source = of_kind(manifests, "ConfigMap")[volume["configMap"]["name"]]
        else:
            continue
        yield from (f"{mount['mountPath']}/{name}" for name in source["data"])


@pytest.mark.parametrize("overlay", ["production", "autoscaled"])
def test_connections_are_shared_out_among_all_processes_that_a_deployment_can_have(
    rendered: Mapping[str, list[Manifest]], overlay: str
) -> None:
    manifests = rendered[overlay]
    given = int(variables_of(manifests, "tenant")["NAGAYA_PROCESSES_PER_SERVICE"])

    most = {process: _most_processes(manifests, process) for process in PROCESSES}

    assert max(most["artifacts"], most["llm-gateway"], most["runs"] + most["runs-worker"]) <= given


def _most_processes(manifests: list[Manifest], process: str) -> int:
    """Return how many pods there are at most in an update, with those that still end."""
    deployment = of_kind(manifests, "Deployment")[process]["spec"]
    scaler = of_kind(manifests, "HorizontalPodAutoscaler").get(process)
    replicas = scaler["spec"]["maxReplicas"] if scaler else deployment["replicas"]
    grace = deployment["template"]["spec"]["terminationGracePeriodSeconds"]
    ending = math.ceil(grace / deployment["minReadySeconds"])
    return replicas + deployment["strategy"]["rollingUpdate"]["maxSurge"] + ending


@pytest.mark.parametrize("process", PROCESSES)
def test_a_pod_is_replaced_when_callers_know_the_one_before(
    rendered: Mapping[str, list[Manifest]], process: str
) -> None:
    deployment = of_kind(rendered["production"], "Deployment")[process]["spec"]

    assert deployment["minReadySeconds"] > DNS_SECONDS
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_confined(rendered: Mapping[str, list[Manifest]], overlay: str) -> None:
    deployments = of_kind(rendered[overlay], "Deployment")
    assert set(deployments) == {*PROCESSES, "envoy"}

    for name, deployment in deployments.items():
        pod, container = deployment["spec"]["template"]["spec"], container_of(deployment)
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
    pod = of_kind(manifests, "Deployment")[process]["spec"]["template"]["spec"]
    drain = float(variables_of(manifests, process)["NAGAYA_DRAIN_SECONDS"])

    assert pod["terminationGracePeriodSeconds"] > drain + GRACE.get(process, OTHERS_GRACE)


@pytest.mark.parametrize(
    ("caller", "peer"), [(caller, peer) for caller, peers in PEERS.items() for peer in peers]
)
def test_network_policies_admit_each_caller_to_its_peers(
    rendered: Mapping[str, list[Manifest]], caller: str, peer: str
) -> None:
    policies = of_kind(rendered["production"], "NetworkPolicy")

    assert _selects(policies[caller]["spec"]["egress"], "to", peer)
    assert _selects(policies[peer]["spec"]["ingress"], "from", caller)


def test_envoy_reaches_every_service(rendered: Mapping[str, list[Manifest]]) -> None:
    policies = of_kind(rendered["production"], "NetworkPolicy")
    services = set(of_kind(rendered["production"], "Service")) - {"envoy"}

    assert services == set(PROCESSES) - {"runs-worker"}
    assert all(_selects(policies[name]["spec"]["ingress"], "from", "envoy") for name in services)
    configuration = next(
        found
        for name, found in of_kind(rendered["production"], "ConfigMap").items()
        if name.startswith("envoy-")
    )
    clusters = json.loads(configuration["data"]["envoy.json"])["static_resources"]["clusters"]
    assert {cluster["name"] for cluster in clusters} == services


@pytest.mark.parametrize("process", PROCESSES)
def test_a_certificate_names_the_workload_and_the_address_by_which_it_is_called(
    rendered: Mapping[str, list[Manifest]], process: str
) -> None:
    manifests = rendered["tls"]
    pod = of_kind(manifests, "Deployment")[process]["spec"]["template"]["spec"]
    (secret,) = (
        volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "tls"
    )
    certificates = of_kind(manifests, "Certificate").values()
    (certificate,) = (one["spec"] for one in certificates if one["spec"]["secretName"] == secret)
    domain = variables_of(manifests, process)["NAGAYA_TLS_TRUST_DOMAIN"]

    workload = process.removesuffix("-worker")

    assert certificate["uris"] == [f"spiffe://{domain}/nagaya/{workload}"]
    assert certificate["dnsNames"][0] == process
    assert set(certificate["usages"]) == {"server auth", "client auth"}


def test_no_probe_speaks_plaintext_grpc_to_a_port_with_tls(
    rendered: Mapping[str, list[Manifest]],
) -> None:
    for deployment in of_kind(rendered["tls"], "Deployment").values():
        container = container_of(deployment)
        assert "grpc" not in container["readinessProbe"]
        assert "grpc" not in container.get("livenessProbe", {})


def _selects(rules: list[Manifest], key: str, name: str) -> bool:
    selectors = [peer["podSelector"] for rule in rules for peer in rule.get(key, [])]
    return {"app.kubernetes.io/name": name} in [one.get("matchLabels") for one in selectors]


def test_a_small_installation_has_one_process_of_each(
    rendered: Mapping[str, list[Manifest]],
) -> None:
    manifests = rendered["small"]

    assert of_kind(manifests, "HorizontalPodAutoscaler") == {}
    assert of_kind(manifests, "PodDisruptionBudget") == {}
    replicas = [one["spec"].get("replicas", 1) for one in of_kind(manifests, "Deployment").values()]
    assert set(replicas) == {1}
