"""The manifests in deploy/ as the tests read them: every document, its pods, and the labels those pods carry."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
SCHEMAS = Path(os.environ.get("CHESTSEG_SCHEMAS", ROOT.parent / "shared" / "schemas")) / "kuberay"
ALERTS = ROOT / "deploy" / "alerts.yaml"
"""Prometheus rules, which are no manifest."""
FILES = sorted(path for path in (ROOT / "deploy").glob("*.yaml") if path != ALERTS)
KUBERAY = "ray.io/v1"
LOOKS_SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|eyJ[\w-]{10,}\.|\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9+/]{32,}\b|://[^/\s:$]+:[^$@\s/]+@"
)
"""Keys of AWS, private keys, web tokens, long random words, and passwords in addresses."""
Manifest = dict[str, Any]


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


MANIFESTS: list[Manifest] = [manifest for path in FILES for manifest in yaml.safe_load_all(path.read_text())]
CORE = [manifest for manifest in MANIFESTS if manifest["apiVersion"] != KUBERAY]
RAY = [manifest for manifest in MANIFESTS if manifest["apiVersion"] == KUBERAY]


def of_kind(kind: str) -> list[Manifest]:
    return [manifest for manifest in MANIFESTS if manifest["kind"] == kind]


def ray_cluster(manifest: Manifest) -> Manifest:
    spec = manifest["spec"]
    return spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec["rayClusterConfig"]


def closed(schema: Any) -> Any:
    """A schema of a custom resource that refuses keys it does not name, and takes numbers and strings where Kubernetes does."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {key: closed(value) for key, value in schema.items()}
    if tight.pop("x-kubernetes-int-or-string", False):
        tight.pop("type", None)
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        tight.setdefault("additionalProperties", False)
    return tight


@dataclass(frozen=True)
class Pod:
    """A pod that a manifest makes."""

    name: str
    labels: dict[str, str]
    spec: Manifest

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> set[int]:
        return {port["containerPort"] for container in self.containers for port in container.get("ports", [])}


def _templates(manifest: Manifest) -> Iterator[Manifest]:
    if manifest["apiVersion"] == KUBERAY:
        cluster = ray_cluster(manifest)
        yield cluster["headGroupSpec"]["template"]
        yield from (group["template"] for group in cluster["workerGroupSpecs"])
        if "submitterPodTemplate" in manifest["spec"]:
            yield manifest["spec"]["submitterPodTemplate"]
    elif "template" in manifest["spec"]:
        yield manifest["spec"]["template"]


PODS = [
    Pod(f"{name_of(manifest)}-{template['spec']['containers'][0]['name']}", template["metadata"]["labels"], template["spec"])
    for manifest in MANIFESTS
    if "spec" in manifest
    for template in _templates(manifest)
]
