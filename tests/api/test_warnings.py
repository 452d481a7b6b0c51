"""What is told of objects that are valid, and yet most likely not meant so."""

from typing import Any

import pytest

from kubelib.api.warnings import finalizer_warnings, status_warnings, warnings_of

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
    return path + message.replace("ith spec.", f"ith {path}spec.").replace("use spec.", f"use {path}spec.")


OLD_ARCH = "beta.kubernetes.io/arch"
TERM = {"matchExpressions": [{"key": OLD_ARCH, "operator": "Exists"}]}
REQUIRED = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}
PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": TERM}]}
IS_OLD = f'{OLD_ARCH} is deprecated since v1.14; use "kubernetes.io/arch" instead'
APPARMOR = "container.apparmor.security.beta.kubernetes.io/c"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
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
            pod(ports=[{"containerPort": 80, "hostIP": "1.2.3.4", "name": "a"}]),
            ["spec.containers[0].ports[0]: hostIP set without hostPort: {Name:a HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}"],
        ),
        (
            pod(ports=[{"containerPort": 80, "hostPort": 80}, {"containerPort": 80, "hostPort": 80, "hostIP": "1.2.3.4"}]),
            ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"],
        ),
        (
            pod({"initContainers": [{**CONTAINER, "ports": [{"name": "a", "containerPort": 1}]}]}, ports=[{"name": "a", "containerPort": 2}]),
            [('spec.containers[0].ports[0]: duplicate port name "a" with spec.initContainers[0].ports[0], services and probes that'
              ' select ports by name will use spec.initContainers[0].ports[0]')],
        ),
        (
            pod({"affinity": {"podAffinity": {_REQUIRED: [{"topologyKey": "x"}]}, "podAntiAffinity": {_PREFERRED: [{"podAffinityTerm": {}}]}}}),
            [
                f"spec.affinity.podAffinity.{_REQUIRED}[0].labelSelector: a null labelSelector results in matching no pod",
                f"spec.affinity.podAntiAffinity.{_PREFERRED}[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
        (
            pod({"affinity": {"nodeAffinity": {_PREFERRED: [{"preference": {"matchExpressions": [{"key": "a", "values": ["b c"]}]}}]}}}),
            [(f"spec.affinity.nodeAffinity.{_PREFERRED}[0].preference.matchExpressions[0].values[0]: b c is invalid, a valid label must be an"
              " empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
              " (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')")],
        ),
        (
            pod({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"limits": {"storage": "1500m"}}}}}}]}),
            ['spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.limits[storage]: fractional byte value "1500m" is invalid, must be an integer'],
        ),
        (
            pod({"volumes": [{"name": "v", "storageos": {}}]}),
            ["spec.volumes[0].storageOS: deprecated in v1.22, non-functional in v1.25+"],
        ),
        (
            pod({"dnsConfig": {"nameservers": ["1.2.3.4", "FE80::1"]}, "hostAliases": [{"ip": "::ffff:1.2.3.4"}]}),
            [
                'spec.dnsConfig.nameservers[1]: IPv6 address "FE80::1" should be in RFC 5952 canonical format ("fe80::1")',
                ('spec.hostAliases[0].ip: non-standard IP address "::ffff:1.2.3.4" will be considered invalid in a future Kubernetes'
                 ' release: use "1.2.3.4"'),
            ],
        ),
        (
            pod(meta={"annotations": {APPARMOR: "x"}}),
            [f'metadata.annotations[{APPARMOR}]: deprecated since v1.30; use the "appArmorProfile" field instead'],
        ),
        (pod({"securityContext": {"appArmorProfile": {}}}, {"annotations": {APPARMOR: "x"}}), []),
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
    assert (
        warnings_of(
            "Deployment", workload, {"metadata": {"name": "w"}, "spec": {"template": told, "replicas": 2}}
        )
        == in_template
    )
    assert warnings_of("Pod", told, pod()) == []
    assert warnings_of("Deployment", workload, {"spec": {"template": {}}}) == in_template


def test_names_that_are_no_host_names_are_told_of() -> None:
    dotted = pod(meta={"name": "a.b"})
    [said] = warnings_of("Pod", dotted, None)
    assert said == (
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended:"
        " [must not contain dots]"
    )
    [said] = warnings_of("Deployment", {"metadata": {"name": "a.b"}, "spec": {"template": pod()}}, None)
    assert said.startswith("metadata.name: this is used in Pod names and hostnames, ")


@pytest.mark.parametrize(
    ("kind", "tree", "expected"),
    [
        ("Service", {"spec": {"type": "ExternalName", "externalIPs": ["1.2.3.4"]}}, ['spec.externalIPs is ignored when spec.type is "ExternalName"']),
        ("Service", {"spec": {"externalName": "x"}}, ['spec.externalName is ignored when spec.type is not "ExternalName"']),
        ("Service", {"spec": {"clusterIP": "None", "sessionAffinity": "ClientIP"}}, ["spec.SessionAffinity is ignored for headless services"]),
        ("Service", {"spec": {"clusterIP": "None", "loadBalancerIP": "1.2.3.4"}}, ["spec.loadBalancerIP is ignored for headless services"]),
        ("Ingress", {"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}}, ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"]),
        ("PersistentVolumeClaim", {"spec": {"resources": {"requests": {"storage": "1500m"}}}}, ['spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer']),
        ("PersistentVolume", {"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}, ["spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."]),
        ("PersistentVolume", {"spec": {"glusterfs": {}}}, ["spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"]),
        ("Node", {"spec": {"externalID": "x"}}, ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]),
        ("Service", {"spec": {"externalIPs": ["2001:DB8::1"]}}, ['spec.externalIPs[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")', "spec.externalIPs is deprecated and may no longer be implemented in some clusters"]),
        ("Service", {"spec": {"clusterIPs": ["2001:db8:0:0::2"]}}, ['spec.clusterIPs[0]: IPv6 address "2001:db8:0:0::2" should be in RFC 5952 canonical format ("2001:db8::2")']),
        ("Service", {"spec": {"clusterIPs": ["None"], "clusterIP": "None"}}, []),
        ("Service", {"spec": {"loadBalancerIP": "010.1.02.3"}}, ['spec.loadBalancerIP: non-standard IP address "010.1.02.3" will be considered invalid in a future Kubernetes release: use "10.1.2.3"']),
        ("Service", {"spec": {"loadBalancerIP": "nonsense"}}, []),
        ("Service", {"spec": {"loadBalancerSourceRanges": ["192.12.2.8/24"]}}, ['spec.loadBalancerSourceRanges[0]: CIDR value "192.12.2.8/24" is ambiguous in this context (should be "192.12.2.0/24" or "192.12.2.8/32"?)']),
        ("Service", {"spec": {"trafficDistribution": "PreferClose"}}, ['spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"']),
        ("Service", {"metadata": {"annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}}}, ["annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead"]),
        ("Endpoints", {"subsets": [{"notReadyAddresses": [{"ip": "1.2.3.4"}, {"ip": "FE80::1"}]}]}, ['subsets[0].notReadyAddresses[1].ip: IPv6 address "FE80::1" should be in RFC 5952 canonical format ("fe80::1")']),
        ("Endpoints", {"metadata": {"labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}}, "subsets": [{"addresses": [{"ip": "FE80::1"}]}]}, []),
        ("EndpointSlice", {"addressType": "IPv6", "endpoints": [{"addresses": ["FE80::1"]}]}, ['endpoints[0].addresses[0]: IPv6 address "FE80::1" should be in RFC 5952 canonical format ("fe80::1")']),
        ("EndpointSlice", {"addressType": "FQDN", "endpoints": [{"addresses": ["a.example"]}]}, ["spec.addressType: FQDN endpoints are deprecated"]),
        ("EndpointSlice", {"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}}, "endpoints": [{"addresses": ["FE80::1"]}]}, []),
        ("NetworkPolicy", {"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "2001:DB8::/32", "except": ["2001:db8:1:0::/64"]}}]}]}}, [
            'spec.ingress[0].from[0].ipBlock.cidr: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")',
            'spec.ingress[0].from[0].ipBlock.except[0]: IPv6 CIDR value "2001:db8:1:0::/64" should be in RFC 5952 canonical format ("2001:db8:1::/64")']),
        ("NetworkPolicy", {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "010.0.0.0/08"}}]}]}}, ['spec.egress[0].to[0].ipBlock.cidr: non-standard CIDR value "010.0.0.0/08" will be considered invalid in a future Kubernetes release: use "10.0.0.0/8"']),
        ("NetworkPolicy", {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "::ffff:10.0.0.5/120"}}]}]}}, [
            'spec.egress[0].to[0].ipBlock.cidr: CIDR value "::ffff:10.0.0.5/120" is ambiguous in this context (should be "10.0.0.0/24" or "10.0.0.5/128"?)',
            'spec.egress[0].to[0].ipBlock.cidr: non-standard CIDR value "::ffff:10.0.0.5/120" will be considered invalid in a future Kubernetes release: use "10.0.0.0/24"']),
        ("Node", {"spec": {"podCIDRs": ["10.0.0.1/24"]}}, ['spec.podCIDRs[0]: CIDR value "10.0.0.1/24" is ambiguous in this context (should be "10.0.0.0/24" or "10.0.0.1/32"?)']),
        ("PersistentVolume", {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [TERM]}}}}, [f"spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: {IS_OLD}"]),
        ("StorageClass", {"allowedTopologies": [{"matchLabelExpressions": [{"key": OLD_ARCH}]}]}, ['allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "kubernetes.io/arch" instead']),
        ("CSIStorageCapacity", {"nodeTopology": {**TERM, "matchLabels": {OLD_ARCH: "x"}}}, [f"nodeTopology.matchExpressions[0].key: {IS_OLD}", f'nodeTopology.matchLabels.{OLD_ARCH}: deprecated since v1.14; use "kubernetes.io/arch" instead']),
        ("RuntimeClass", {"scheduling": {"nodeSelector": {OLD_ARCH: "x"}}}, ['scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/arch" instead']),
        ("ServiceAccount", {"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}, ["metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"]),
        ("StatefulSet", {"spec": {"revisionHistoryLimit": -2}}, ["spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"]),
        ("StatefulSet", {"spec": {"volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "1500m"}}}}]}}, ['spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer']),
        ("Job", {"spec": {"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001}}, ["spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"]),
        ("Job", {"spec": {"completionMode": "Indexed", "completions": 100_000, "parallelism": 10_001}}, []),
        ("CronJob", {"spec": {"schedule": "TZ=UTC * * * * *"}}, []),
        ("ConfigMap", {}, []),
        ("ValidatingWebhookConfiguration", {"webhooks": [{"rules": [{"apiGroups": ["*"], "resources": ["tokenreviews"]}, {"apiGroups": [""], "resources": ["pods"]}]}]}, []),
        ("MutatingWebhookConfiguration", {"webhooks": [{}, {"rules": [{"apiGroups": ["authorization.k8s.io", ""], "resources": ["pods", "subjectaccessreviews"]}]}]}, [
            "webhooks[1].rules[0]: subjectaccessreviews.authorization.k8s.io is excluded from admission webhooks; this rule will have no effect",
        ]),
    ],
)  # fmt: skip
def test_other_kinds_are_looked_at(kind: str, tree: Tree, expected: list[str]) -> None:
    assert warnings_of(kind, tree, None) == expected


def test_some_things_are_told_only_of_changes_or_only_of_new_objects() -> None:
    job = {"spec": {"schedule": "CRON_TZ=UTC * * * * *"}}
    assert warnings_of("CronJob", job, job) == [
        (
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see"
            " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    ]
    account = {"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}
    assert warnings_of("ServiceAccount", account, account) == []
    assert len(warnings_of("ServiceAccount", account, {"metadata": {}})) == 1
    assert warnings_of("EndpointSlice", {"addressType": "FQDN"}, {"addressType": "FQDN"}) == []


ITEMS = [{"key": "a", "path": "x/y"}, {"key": "b", "path": "x/"}]


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"configMap": {"name": "m", "items": ITEMS}}, ['volume "v" (ConfigMap "m"): overlapping paths: "x" with "x/y"']),
        ({"secret": {"secretName": "s", "items": ITEMS}}, ['volume "v" (Secret "s"): overlapping paths: "x" with "x/y"']),
        ({"downwardAPI": {"items": ITEMS}}, ['volume "v" (DownwardAPI): overlapping paths: "x" with "x/y"']),
        ({"configMap": {"name": "m", "items": [{"key": "a", "path": "x"}, {"key": "b", "path": "xy"}]}}, []),
        ({"configMap": {"name": "m"}}, []),
        ({"projected": {"sources": [{}]}}, ['volume "v" (Projected) has no sources provided']),
        (
            {"projected": {"sources": [
                {"configMap": {"name": "m", "items": [{"key": "a", "path": "x"}]}},
                {"secret": {"name": "s", "items": [{"key": "a", "path": "x"}]}},
                {"downwardAPI": {"items": [{"path": "x/y"}]}},
                {"serviceAccountToken": {"path": "token"}},
                {"clusterTrustBundle": {"signerName": "n", "path": "token"}},
                {"podCertificate": {"keyPath": "token", "certificateChainPath": "chain"}},
            ]}},
            [
                'volume "v" (Projected): overlapping paths: "x" (Secret "s") with "x" (ConfigMap "m")',
                'volume "v" (Projected): overlapping paths: "x/y" (DownwardAPI) with "x" (ConfigMap "m")',
                'volume "v" (Projected): overlapping paths: "x/y" (DownwardAPI) with "x" (Secret "s")',
                'volume "v" (Projected): overlapping paths: "token" (ClusterTrustBundle "n") with "token" (ServiceAccountToken)',
                'volume "v" (Projected): overlapping paths: "token" (PodCertificate key) with "token" (ServiceAccountToken)',
                'volume "v" (Projected): overlapping paths: "token" (PodCertificate key) with "token" (ClusterTrustBundle "n")',
            ],
        ),
    ],
)  # fmt: skip
def test_paths_in_volumes_that_hide_one_another_are_told_of(volume: Tree, expected: list[str]) -> None:
    assert warnings_of("Pod", pod({"volumes": [{"name": "v", **volume}]}), None) == expected


def test_formats_of_texts_that_nobody_checks_are_told_of() -> None:
    def having(**properties: Tree) -> Tree:
        schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
        return {"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}}

    known = having(a={"type": "string", "format": "date-time"}, b={"type": "integer", "format": "int64"})
    assert warnings_of("CustomResourceDefinition", known, None) == []
    odd = having(a={"type": "array", "items": {"type": "string", "format": "zip"}})
    assert warnings_of("CustomResourceDefinition", odd, None) == ['unrecognized format "zip"']
    assert warnings_of("CustomResourceDefinition", odd, odd) == []
    assert warnings_of("CustomResourceDefinition", odd, known) == ['unrecognized format "zip"']


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


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    [
        (
            "Pod",
            {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "FD00::1"}], "hostIPs": [{"ip": "010.0.0.2"}]},
            [
                'status.podIPs[1].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")',
                (
                    'status.hostIPs[0].ip: non-standard IP address "010.0.0.2" will be considered invalid in a future Kubernetes'
                    ' release: use "10.0.0.2"'
                ),
            ],
        ),
        (
            "Service",
            {"loadBalancer": {"ingress": [{"hostname": "a"}, {"ip": "FD00::1"}]}},
            [
                'status.loadBalancer.ingress[1]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")'
            ],
        ),
        ("Ingress", {"loadBalancer": {"ingress": [{"ip": "FD00::1"}]}}, []),
    ],
)
def test_addresses_in_a_status_that_not_all_read_alike_are_told(
    kind: str, status: Tree, told: list[str]
) -> None:
    assert status_warnings(kind, {"status": status}) == told


def test_what_is_told_of_a_spec_is_told_of_each_that_is_like_it() -> None:
    def told(name: str, path: str, meta: Tree | None = None) -> list[str]:
        items = [{"path": "a"}, {"path": path}]
        mounted = {"name": f"kube-api-access-{name}", "configMap": {"name": "m", "items": items}}
        return warnings_of("Pod", pod({"volumes": [mounted], "nodeSelector": {OLD_ARCH: "x"}}, meta), None)

    deprecated = f'spec.nodeSelector[{OLD_ARCH}]: deprecated since v1.14; use "kubernetes.io/arch" instead'
    for name in ("aaaaa", "bbbbb"):
        overlapping = f'volume "kube-api-access-{name}" (ConfigMap "m"): overlapping paths: "a" with "a"'
        assert told(name, "b") == [deprecated]
        assert told(name, "a") == [deprecated, overlapping]
    annotations = {SECCOMP: "unconfined"}
    (replaced,) = told("aaaaa", "b", {"annotations": annotations})[1:]
    assert replaced.startswith(f"metadata.annotations[{SECCOMP}]: ")
