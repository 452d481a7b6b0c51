"""What is told of objects that are valid, and yet most likely not meant so."""

from typing import Any

import pytest

from kubelib.api.warnings import finalizer_warnings, warnings_of

Tree = dict[str, Any]
CONTAINER: Tree = {"name": "c", "image": "i"}


def pod(spec: Tree | None = None, meta: Tree | None = None, **container: Any) -> Tree:
    return {
        "metadata": {"name": "p", **(meta or {})},
        "spec": {"containers": [{**CONTAINER, **container}], **(spec or {})},
    }


def variable(name: str, value: str = "", **more: Any) -> Tree:
    return {"name": name, "value": value, **more}


def below(path: str, message: str) -> str:
    """Return a message about a Pod as it is of a template at a path: the places that it names are there."""
    return (path + message).replace("definition with spec.", f"definition with {path}spec.")


OLD_ARCH = "beta.kubernetes.io/arch"
TERM = {"matchExpressions": [{"key": OLD_ARCH, "operator": "Exists"}]}
REQUIRED = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}
PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": TERM}]}
IS_OLD = f'{OLD_ARCH} is deprecated since v1.14; use "kubernetes.io/arch" instead'
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (pod(), []),
        (
            pod({"nodeSelector": {OLD_ARCH: "x"}}),
            [f'spec.nodeSelector[{OLD_ARCH}]: deprecated since v1.14; use "kubernetes.io/arch" instead'],
        ),
        (
            pod({"affinity": {"nodeAffinity": REQUIRED}}),
            [
                ("spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
                f".matchExpressions[0].key: {IS_OLD}")
            ],
        ),
        (
            pod({"affinity": {"nodeAffinity": PREFERRED}}),
            [
                ("spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
                f".matchExpressions[0].key: {IS_OLD}")
            ],
        ),
        (
            pod({"topologySpreadConstraints": [{"topologyKey": OLD_ARCH}]}),
            [
                f"spec.topologySpreadConstraints[0].topologyKey: {IS_OLD}",
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
        (
            pod({"volumes": [{"name": "v", "gitRepo": {}}]}),
            ["spec.volumes[0].gitRepo: deprecated in v1.11"],
        ),
        (
            pod({"hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]}),
            ['spec.hostAliases[1].ip: duplicate ip "1.2.3.4"'],
        ),
        (
            pod({"imagePullSecrets": [{"name": "s"}, {"name": "s"}, {}]}),
            [
                'spec.imagePullSecrets[1].name: duplicate name "s"',
                'spec.imagePullSecrets[2].name: invalid empty name ""',
            ],
        ),
        (
            pod(resources={"limits": {"memory": "100m", "cpu": "100m"}}),
            ['spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer'],
        ),
        (
            pod(env=[variable("A", "1"), variable("B"), variable("A", "2")]),
            ['spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (pod(env=[variable("A", "1"), variable("A", "$(A)2")]), []),
        (
            pod(env=[variable("A", "1"), variable("A", "$(A)")]),
            ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (
            pod({"initContainers": [{**CONTAINER, "ports": [{"containerPort": 80}]}]}, ports=[{"containerPort": 80}]),
            ["spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]"],
        ),
        (
            pod(ports=[{"containerPort": 80}, {"containerPort": 80, "hostPort": 80}, {"containerPort": 80, "protocol": "UDP"}]),
            ["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"],
        ),
        (
            pod(meta={"annotations": {SECCOMP: "x"}}),
            [f'metadata.annotations[{SECCOMP}]: non-functional in v1.27+; use the "seccompProfile" field instead'],
        ),
        (pod({"securityContext": {"seccompProfile": {}}}, {"annotations": {SECCOMP: "x"}}), []),
        (
            pod({"terminationGracePeriodSeconds": -1}),
            ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
        ),
    ],
)  # fmt: skip
def test_pods_and_their_templates_are_looked_at(told: Tree, expected: list[str]) -> None:
    assert warnings_of("Pod", told, None) == expected
    workload = {"metadata": {"name": "w"}, "spec": {"template": told}}
    in_template = [below("spec.template.", message) for message in expected]
    assert warnings_of("Deployment", workload, None) == in_template
    job = {"metadata": {"name": "w"}, "spec": {"jobTemplate": {"spec": {"template": told}}}}
    inner = [below("spec.jobTemplate.spec.template.", message) for message in expected]
    assert warnings_of("CronJob", job, None) == inner
    # What has not changed has been told before.
    assert warnings_of("Deployment", workload, workload) == []
    assert warnings_of("Pod", told, pod()) == []
    assert warnings_of("Deployment", workload, {"spec": {"template": {}}}) == in_template


def test_names_that_are_no_host_names_are_told_of() -> None:
    dotted = pod(meta={"name": "a.b"})
    [said] = warnings_of("Pod", dotted, None)
    assert said.startswith(
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
    )
    assert said.endswith("regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')]")
    [said] = warnings_of("Deployment", {"metadata": {"name": "a.b"}, "spec": {"template": pod()}}, None)
    assert said.startswith("metadata.name: this is used in Pod names and hostnames, ")


@pytest.mark.parametrize(
    ("kind", "tree", "expected"),
    [
        ("Service", {"spec": {"type": "ExternalName", "externalIPs": ["1.2.3.4"]}}, ['spec.externalIPs is ignored when type is "ExternalName"']),
        ("Service", {"spec": {"externalName": "x"}}, ['spec.externalName is ignored when type is not "ExternalName"']),
        ("Service", {"spec": {"clusterIP": "None", "sessionAffinity": "ClientIP"}}, ["spec.SessionAffinity is ignored for headless services"]),
        ("Service", {"spec": {"clusterIP": "None", "loadBalancerIP": "1.2.3.4"}}, ["spec.loadBalancerIP is ignored for headless services"]),
        ("Ingress", {"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}}, ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"]),
        ("PersistentVolumeClaim", {"spec": {"resources": {"requests": {"storage": "1500m"}}}}, ['spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer']),
        ("PersistentVolume", {"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}, ["spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."]),
        ("PersistentVolume", {"spec": {"glusterfs": {}}}, ["spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"]),
        ("Node", {"spec": {"externalID": "x"}}, ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]),
        ("ConfigMap", {}, []),
    ],
)  # fmt: skip
def test_other_kinds_are_looked_at(kind: str, tree: Tree, expected: list[str]) -> None:
    assert warnings_of(kind, tree, None) == expected


def test_finalizers_of_custom_resources_have_a_path() -> None:
    def having(*names: str) -> Tree:
        return {"metadata": {"finalizers": list(names)}}

    assert finalizer_warnings(having("example.com/x", "orphan", "foregroundDeletion"), None) == []
    [said] = finalizer_warnings(having("mine", "example.com/x"), having("example.com/x"))
    assert said == (
        'metadata.finalizers: "mine": prefer a domain-qualified finalizer name including a path (/) to avoid accidental'
        " conflicts with other finalizer writers"
    )
    assert finalizer_warnings(having("mine"), having("mine")) == []
