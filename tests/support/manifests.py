"""What Kustomize makes of deploy/k8s, with the files that an operator adds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Manifest: TypeAlias = dict[str, Any]

OVERLAYS = ("production", "small", "tls", "autoscaled")
_CLONE = Path(__file__).resolve().parents[2]
_FILES = (
    "jwks.json", "tenant.pem", "artifacts.pem", "llm-gateway.pem", "runs.pem", "keyring.json",
    "pg-url", "s3-access-key", "s3-secret-key", "providers.json",
)  # fmt: skip
_AUTOSCALED = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../production]
components: [../../components/worker-autoscaling]
"""
_REFERENCE = re.compile(r"\$\((\w+)\)")


def render_all(go_tools: Path, folder: Path) -> dict[str, list[Manifest]]:
    """Return the manifests of each overlay, and of one whose workers are scaled."""
    copy = folder / "k8s"
    shutil.copytree(_CLONE / "deploy" / "k8s", copy)
    for name in _FILES:
        (copy / "overlays" / "production" / "secrets" / name).write_text("x")
    (copy / "overlays" / "autoscaled").mkdir()
    (copy / "overlays" / "autoscaled" / "kustomization.yaml").write_text(_AUTOSCALED)
    return {overlay: _render(go_tools, copy / "overlays" / overlay) for overlay in OVERLAYS}


def _render(go_tools: Path, overlay: Path) -> list[Manifest]:
    done = subprocess.run(
        [go_tools / "kustomize", "build", str(overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind, by name."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def container_of(deployment: Manifest) -> Manifest:
    """Return the only container of a pod."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def own_variables(deployment: Manifest, given: dict[str, str] | None = None) -> dict[str, str]:
    """Return what stands beside a container; what the cluster fills in is an address.

    As in Kubernetes, `$(NAME)` is replaced where NAME stands above, or is given to all.
    """
    known, found = dict(given or {}), dict[str, str]()
    for item in container_of(deployment).get("env", []):
        text = item.get("value", "10.1.2.3")
        found[item["name"]] = known[item["name"]] = _REFERENCE.sub(
            lambda name: known.get(name[1], name[0]), text
        )
    return found


def variables_of(manifests: list[Manifest], process: str) -> dict[str, str]:
    """Return the environment of a process."""
    deployment = of_kind(manifests, "Deployment")[process]
    (source,) = container_of(deployment)["envFrom"]
    shared = of_kind(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return shared | own_variables(deployment, shared)
