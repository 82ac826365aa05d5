"""What Kubernetes schemas cannot say about deploy/k8s: `python -m scripts.manifests FILE…` on rendered manifests.

Objects that must fit together (selectors, named ports, references), and what Encore wants of each workload: settings
and commands that exist, probes that are routes, no rights. Exits 1 and prints a line for each problem.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from app.cli import COMMANDS
from app.config import Settings
from app.config_names import FILE_SUFFIX, may_come_from_a_file, setting_name

Object = Mapping[str, Any]

WORKLOADS = ("Deployment", "StatefulSet", "Job")
PROBE_PATHS = {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
CONSOLE_PATHS = dict.fromkeys(PROBE_PATHS, "/_stcore/health")
"""Streamlit's own."""

PROBED = {"api": PROBE_PATHS, "consumer": PROBE_PATHS, "dashboard": CONSOLE_PATHS}
NOT_OURS = frozenset({"AWS_SHARED_CREDENTIALS_FILE", "AWS_DEFAULT_REGION", "OMP_NUM_THREADS"})
SETTINGS = frozenset(
    {setting_name(field) for field in Settings.model_fields}
    | {setting_name(field) + FILE_SUFFIX for field in Settings.model_fields if may_come_from_a_file(field)}
    | NOT_OURS
)
SECRETS = "/etc/encore/secrets/"


def problems(objects: Sequence[Object]) -> Iterator[str]:
    """Every problem of the objects of one overlay, as a line that names the object."""
    workloads = [item for item in objects if item["kind"] in WORKLOADS]
    for workload in workloads:
        yield from (f"{_name(workload)}: {problem}" for problem in _workload_problems(workload, objects))
    for item in objects:
        match item["kind"]:
            case "Service":
                found = _service_problems(item, workloads)
            case "PodDisruptionBudget":
                found = _budget_problems(item, workloads)
            case "HorizontalPodAutoscaler" | "ScaledObject":
                found = _scaler_problems(item, workloads)
            case "NetworkPolicy":
                found = _policy_problems(item, workloads)
            case "Ingress":
                found = _ingress_problems(item, objects)
            case "ServiceMonitor":
                found = _monitor_problems(item, objects)
            case "ConfigMap":
                found = (f"{key} is no setting" for key in item["data"] if key not in SETTINGS)
            case _:
                continue
        yield from (f"{_name(item)}: {problem}" for problem in found)
    yield from _policies_missing(objects, workloads)


def _name(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def _pod(workload: Object) -> Object:
    pod: Object = workload["spec"]["template"]
    return pod


def _labels(workload: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = _pod(workload)["metadata"]["labels"]
    return labels


def _containers(workload: Object) -> Sequence[Object]:
    containers: Sequence[Object] = _pod(workload)["spec"]["containers"]
    return containers


def _matches(selector: Mapping[str, str], workload: Object) -> bool:
    return bool(selector) and selector.items() <= _labels(workload).items()


def _ports(workload: Object) -> Mapping[str, int]:
    return {port["name"]: port["containerPort"] for one in _containers(workload) for port in one.get("ports", ())}


def _workload_problems(workload: Object, objects: Sequence[Object]) -> Iterator[str]:
    spec = _pod(workload)["spec"]
    if workload["kind"] != "Job" and not _matches(workload["spec"]["selector"]["matchLabels"], workload):
        yield "its selector does not match its own pods"
    if workload["kind"] == "StatefulSet" and not _is_named(objects, "Service", workload["spec"]["serviceName"]):
        yield "serviceName names no Service"
    if not _is_named(objects, "ServiceAccount", spec.get("serviceAccountName", "")):
        yield "its service account does not exist"
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token of the Kubernetes API"
    security = spec.get("securityContext", {})
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    for constraint in spec.get("topologySpreadConstraints", ()):
        if not _matches(constraint["labelSelector"]["matchLabels"], workload):
            yield "spreads other pods than its own"
    for container in _containers(workload):
        yield from _container_problems(workload, container, objects)
    yield from _grace_problems(workload, objects)


def _container_problems(workload: Object, container: Object, objects: Sequence[Object]) -> Iterator[str]:
    _, _, tag = str(container["image"]).rpartition(":")
    if ":" not in str(container["image"]) or tag in ("", "latest"):
        yield f"the image {container['image']} has no version"
    if container.get("args", ["?"])[0] not in COMMANDS:
        yield "its arguments are no command of encore"
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps rights it does not need"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root file system"
    resources = container.get("resources", {})
    if not resources.get("requests", {}).get("cpu") or not resources.get("limits", {}).get("memory"):
        yield "requests no processor or has no limit of memory"
    yield from _environment_problems(workload, container, objects)
    yield from _probe_problems(workload, container)


def _environment_problems(workload: Object, container: Object, objects: Sequence[Object]) -> Iterator[str]:
    for variable in container.get("env", ()):
        if variable["name"] not in SETTINGS:
            yield f"{variable['name']} is no setting"
    mounted = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", ())}
    volumes = {volume["name"]: volume for volume in _pod(workload)["spec"].get("volumes", ())}
    for name in mounted.keys() - volumes.keys():
        yield f"mounts {name}, which is no volume"
    for source in container.get("envFrom", ()):
        config = _named(objects, "ConfigMap", source["configMapRef"]["name"])
        if config is None:
            yield "reads a ConfigMap that does not exist"
            continue
        files = [value for key, value in config["data"].items() if key.endswith(FILE_SUFFIX)]
        if files and mounted.get("secrets", "") + "/" != SECRETS:
            yield "reads secrets from files that are not mounted"
        yield from (f"{value} is not below {SECRETS}" for value in files if not value.startswith(SECRETS))
    secret = volumes.get("secrets", {}).get("secret", {}).get("secretName", "")
    if not any(_is_named(objects, kind, secret) for kind in ("Secret", "ExternalSecret")):
        yield "mounts a Secret that nothing makes"
    items = volumes.get("secrets", {}).get("secret", {}).get("items", ())
    if container["name"] == "dashboard" and [item["key"] for item in items] != ["dashboard-api-key"]:
        yield "gets more of the Secret than its own key"


def _probe_problems(workload: Object, container: Object) -> Iterator[str]:
    ports = _ports(workload)
    for probe, path in PROBED.get(container["name"], {}).items():
        asked = container.get(probe, {}).get("httpGet")
        if asked is None:
            yield f"has no {probe}"
        elif asked["path"] != path:
            yield f"its {probe} asks {asked['path']}, not {path}"
        elif asked["port"] not in ports:
            yield f"its {probe} asks the port {asked['port']}, which no container has"


def _grace_problems(workload: Object, objects: Sequence[Object]) -> Iterator[str]:
    """Kubernetes must not kill what still finishes: drain and requests, or a training."""
    settings: Mapping[str, str] = next((item["data"] for item in objects if item["kind"] == "ConfigMap"), {})
    grace = _pod(workload)["spec"].get("terminationGracePeriodSeconds", 30)
    needed = {
        "api": float(settings.get("ENCORE_DRAIN_SECONDS", 0)) + 20 + 10,
        "worker": float(settings.get("ENCORE_WORKER_STOP_SECONDS", 30)) + 20,
    }.get(_labels(workload).get("app.kubernetes.io/component", ""), 0)
    if grace < needed:
        yield f"is killed after {grace} s, but may need {needed:g} s to stop"


def _service_problems(service: Object, workloads: Sequence[Object]) -> Iterator[str]:
    chosen = [workload for workload in workloads if _matches(service["spec"]["selector"], workload)]
    if len(chosen) != 1:
        yield f"selects the pods of {len(chosen)} workloads"
    for port in service["spec"]["ports"]:
        if not all(port["targetPort"] in _ports(workload) for workload in chosen):
            yield f"its port {port['targetPort']} is none of the pods'"


def _budget_problems(budget: Object, workloads: Sequence[Object]) -> Iterator[str]:
    chosen = [one for one in workloads if _matches(budget["spec"]["selector"]["matchLabels"], one)]
    if len(chosen) != 1:
        yield f"selects the pods of {len(chosen)} workloads"
    for workload in chosen:
        if budget["spec"].get("minAvailable", 0) >= workload["spec"].get("replicas", 1):
            yield "allows no pod to go: no node can ever be drained"


def _scaler_problems(scaler: Object, workloads: Sequence[Object]) -> Iterator[str]:
    target = scaler["spec"]["scaleTargetRef"]
    found = [one for one in workloads if (one["kind"], one["metadata"]["name"]) == (target["kind"], target["name"])]
    if not found:
        yield "scales something that does not exist"
    low = scaler["spec"].get("minReplicas", scaler["spec"].get("minReplicaCount", 1))
    high = scaler["spec"].get("maxReplicas", scaler["spec"].get("maxReplicaCount", 1))
    if not 1 <= low < high:
        yield "has no room to scale"


def _policy_problems(policy: Object, workloads: Sequence[Object]) -> Iterator[str]:
    chosen = [one for one in workloads if _matches(policy["spec"]["podSelector"].get("matchLabels", {}), one)]
    if not chosen:
        yield "is about no pods"
    for rule in policy["spec"].get("ingress", ()):
        if not rule.get("from"):
            yield "lets everybody in"
        for port in rule.get("ports", ()):
            if isinstance(port["port"], str) and not all(port["port"] in _ports(one) for one in chosen):
                yield f"opens the port {port['port']}, which no container has"
    if any(not rule.get("ports") for rule in policy["spec"].get("egress", ())):
        yield "lets pods talk to every port"


def _policies_missing(objects: Sequence[Object], workloads: Sequence[Object]) -> Iterator[str]:
    denying = [
        item["spec"]["podSelector"].get("matchLabels", {})
        for item in objects
        if item["kind"] == "NetworkPolicy" and not item["spec"].get("ingress") and not item["spec"].get("egress")
    ]
    for workload in workloads:
        if not any(_matches(selector, workload) for selector in denying):
            yield f"{_name(workload)}: no policy denies what is not allowed"


def _ingress_problems(ingress: Object, objects: Sequence[Object]) -> Iterator[str]:
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            wanted = path["backend"]["service"]
            service = _named(objects, "Service", wanted["name"])
            if service is None or wanted["port"]["name"] not in {port["name"] for port in service["spec"]["ports"]}:
                yield "leads to a Service or port that does not exist"
            if not path["path"].startswith("/api"):
                yield f"shows {path['path']} to the world"


def _monitor_problems(monitor: Object, objects: Sequence[Object]) -> Iterator[str]:
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [
        item for item in objects if item["kind"] == "Service" and wanted <= item["metadata"].get("labels", {}).items()
    ]
    offered = {port["name"] for service in services for port in service["spec"]["ports"]}
    for endpoint in monitor["spec"]["endpoints"]:
        if endpoint["port"] not in offered:
            yield f"scrapes the port {endpoint['port']}, which no Service has"


def _named(objects: Sequence[Object], kind: str, name: str) -> Object | None:
    return next((item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)), None)


def _is_named(objects: Sequence[Object], kind: str, name: str) -> bool:
    return _named(objects, kind, name) is not None


def main(paths: Sequence[str]) -> int:
    """Check rendered manifests, one file an overlay; returns the exit code."""
    found = [
        f"{path}: {problem}"
        for path in paths
        for problem in problems([item for item in yaml.safe_load_all(Path(path).read_text()) if item])
    ]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
