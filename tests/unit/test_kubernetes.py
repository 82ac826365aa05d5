"""deploy/k8s: every overlay renders, fits the schemas, fits together; mistakes that people make are found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.manifests import problems
from scripts.prometheus_rule import prometheus_rule

K8S = Path(__file__).parents[2] / "deploy" / "k8s"
BIN = Path(sys.executable).parent
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
NOT_OF_KUBERNETES = ("ServiceMonitor", "ScaledObject", "ExternalSecret")

Objects = dict[str, Any]


@cache
def text_of(overlay: str) -> str:
    rendered = subprocess.run(
        [BIN / "kubectl", "kustomize", K8S / "overlays" / overlay], capture_output=True, text=True, timeout=60
    )
    assert rendered.returncode == 0, rendered.stderr
    return rendered.stdout


def render(overlay: str) -> Objects:
    """The objects of an overlay by `Kind/name`."""
    objects = [item for item in yaml.safe_load_all(text_of(overlay)) if item]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in objects}


def is_valid(objects: Objects, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "objects.yaml"
    known = [item for item in objects.values() if item["kind"] not in NOT_OF_KUBERNETES]
    file.write_text(yaml.safe_dump_all(known))
    return subprocess.run([BIN / "kubernetes-validate", "--strict", file], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_renders_fits_the_schemas_and_fits_together(overlay: str, tmp_path: Path) -> None:
    objects = render(overlay)

    validated = is_valid(objects, tmp_path)

    assert validated.returncode == 0, validated.stdout + validated.stderr
    assert list(problems(list(objects.values()))) == []


def test_production_has_every_process_of_the_service() -> None:
    objects = render("production")
    commands = {
        item["spec"]["template"]["spec"]["containers"][0]["args"][0]
        for item in objects.values()
        if item["kind"] in ("Deployment", "StatefulSet", "Job")
    }

    assert commands == {"serve", "consume", "worker", "beat", "migrate", "dashboard"}
    assert objects["Deployment/encore-api"]["spec"]["replicas"] >= 3
    assert objects["Deployment/encore-beat"]["spec"]["strategy"] == {"type": "Recreate"}


def test_no_secret_is_in_what_production_applies() -> None:
    assert not [name for name in render("production") if name.startswith("Secret/")]


API, CONSUMER, WORKER = "Deployment/encore-api", "StatefulSet/encore-consumer", "Deployment/encore-worker"


def pod(objects: Objects, name: str) -> Any:
    return objects[name]["spec"]["template"]


def container(objects: Objects, name: str) -> Any:
    return pod(objects, name)["spec"]["containers"][0]


def config(objects: Objects) -> Any:
    return next(item for item in objects.values() if item["kind"] == "ConfigMap")


MISTAKES: Mapping[str, tuple[str, Callable[[Objects], object]]] = {
    "labels of pods that the selector does not know": (
        "does not match its own pods",
        lambda o: pod(o, API)["metadata"]["labels"].update({"app.kubernetes.io/component": "web"}),
    ),
    "a service of other pods": (
        "selects the pods of 0 workloads",
        lambda o: o["Service/encore-api"]["spec"]["selector"].update({"app.kubernetes.io/component": "web"}),
    ),
    "a service with a port nobody listens on": (
        "is none of the pods'",
        lambda o: o["Service/encore-api"]["spec"]["ports"][0].update(targetPort="web"),
    ),
    "a probe of a route that does not exist": (
        "not /health/ready",
        lambda o: container(o, API)["readinessProbe"]["httpGet"].update(path="/healthz"),
    ),
    "liveness that asks readiness": (
        "not /health/live",
        lambda o: container(o, API)["livenessProbe"]["httpGet"].update(path="/health/ready"),
    ),
    "no readiness": ("has no readinessProbe", lambda o: container(o, CONSUMER).pop("readinessProbe")),
    "a probe of a port by a wrong name": (
        "which no container has",
        lambda o: container(o, CONSUMER)["livenessProbe"]["httpGet"].update(port="http"),
    ),
    "a setting that does not exist": ("is no setting", lambda o: config(o)["data"].update(ENCORE_CACHE_URI="x")),
    "a variable that is no setting": (
        "is no setting",
        lambda o: container(o, CONSUMER)["env"].append({"name": "ENCORE_INSTANCE", "value": "x"}),
    ),
    "a command that does not exist": ("no command of encore", lambda o: container(o, API).update(args=["server"])),
    "an image without a version": ("has no version", lambda o: container(o, API).update(image="encore")),
    "an image that is whatever is newest": (
        "has no version",
        lambda o: container(o, API).update(image="x/encore:latest"),
    ),
    "a pod that may be root": ("may run as root", lambda o: pod(o, API)["spec"]["securityContext"].pop("runAsNonRoot")),
    "no seccomp profile": ("seccomp", lambda o: pod(o, WORKER)["spec"]["securityContext"].pop("seccompProfile")),
    "a root that can be written": (
        "write to its root",
        lambda o: container(o, API)["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    "capabilities that are kept": (
        "keeps rights",
        lambda o: container(o, API)["securityContext"]["capabilities"].update(drop=["NET_RAW"]),
    ),
    "a token of the Kubernetes API": (
        "mounts a token",
        lambda o: pod(o, API)["spec"].update(automountServiceAccountToken=True),
    ),
    "a console that is given more secrets than its own": (
        "gets more of the Secret than its own key",
        lambda o: pod(o, "Deployment/encore-dashboard")["spec"]["volumes"][0]["secret"].pop("items"),
    ),
    "no limit of memory": ("no limit of memory", lambda o: container(o, API)["resources"].pop("limits")),
    "a budget that lets no node be drained": (
        "no node can ever be drained",
        lambda o: o["PodDisruptionBudget/encore-api"]["spec"].update(minAvailable=3),
    ),
    "a scaler of something that is not there": (
        "does not exist",
        lambda o: o["HorizontalPodAutoscaler/encore-api"]["spec"]["scaleTargetRef"].update(name="api"),
    ),
    "a scaler without room": (
        "no room",
        lambda o: o["HorizontalPodAutoscaler/encore-api"]["spec"].update(maxReplicas=3),
    ),
    "a grace period shorter than a training gets": (
        "is killed after 30 s",
        lambda o: pod(o, WORKER)["spec"].update(terminationGracePeriodSeconds=30),
    ),
    "secrets that are not mounted": (
        "not mounted",
        lambda o: container(o, API)["volumeMounts"].pop(0),
    ),
    "a Secret that nothing makes": (
        "nothing makes",
        lambda o: pod(o, API)["spec"]["volumes"][0]["secret"].update(secretName="encore-secrets"),
    ),
    "a policy that lets everybody in": (
        "lets everybody in",
        lambda o: o["NetworkPolicy/encore-api-callers"]["spec"]["ingress"][0].pop("from"),
    ),
    "no policy that denies the rest": ("no policy denies", lambda o: o.pop("NetworkPolicy/encore-deny-all")),
    "metrics shown to the world": (
        "to the world",
        lambda o: o["Ingress/encore"]["spec"]["rules"][0]["http"]["paths"][0].update(path="/"),
    ),
    "a monitor of a port that no service has": (
        "which no Service has",
        lambda o: o["ServiceMonitor/encore"]["spec"]["endpoints"][0].update(port="metrics"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(name: str) -> None:
    sign, plant = MISTAKES[name]
    objects = deepcopy(render("production"))
    plant(objects)

    assert any(sign in problem for problem in problems(list(objects.values())))


@pytest.mark.parametrize(
    "plant",
    [
        lambda o: container(o, API).update(readynessProbe=container(o, API).pop("readinessProbe")),
        lambda o: o["PodDisruptionBudget/encore-api"]["spec"].update(minAvailable=[2]),
    ],
    ids=["a misspelt field", "a value of a wrong type"],
)
def test_schemas_find_what_they_can(plant: Callable[[Objects], object], tmp_path: Path) -> None:
    objects = deepcopy(render("production"))
    plant(objects)

    assert is_valid(objects, tmp_path).returncode == 1


def test_the_operator_gets_all_rules() -> None:
    groups = prometheus_rule()["spec"]["groups"]

    assert {group["name"] for group in groups} == {"encore", "encore-lists", "encore-budgets"}


def test_the_autoscaler_asks_for_the_metric_that_the_adapter_makes() -> None:
    adapter = yaml.safe_load((K8S.parent / "prometheus" / "adapter.yml").read_text())
    pods = render("production")["HorizontalPodAutoscaler/encore-api"]["spec"]["metrics"][1]["pods"]

    assert pods["metric"]["name"] == adapter["rules"][0]["name"]["as"]
