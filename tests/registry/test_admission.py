"""What the built-in plug-ins of admission change and refuse, as Kubernetes documents it."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import anyio
import pytest

from kubelib.api.errors import ApiError, Forbidden, Invalid
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource
from kubelib.clock import LoopClock
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import Attributes, Verb, default_admission
from kubelib.registry.admission.serviceaccounts import ServiceAccountAdmission
from kubelib.registry.base import User, WriteOptions
from kubelib.store import MemoryStore

Tree = dict[str, Any]
JANE = WriteOptions(user=User("jane"))


class Api:
    def __init__(self, registries: ResourceRegistries) -> None:
        self.registries = registries

    def of(self, kind: str, version: str = "v1") -> Any:
        return self.registries.of(self.registries.scheme.kind(version, kind))

    async def create(self, tree: Tree, **options: Any) -> Tree:
        namespace = tree["metadata"].get("namespace", "")
        document = await self.of(tree["kind"], tree["apiVersion"]).create(
            deepcopy(tree), namespace=namespace, options=WriteOptions(**options)
        )
        result: Tree = document.tree()
        return result

    async def refused(self, tree: Tree, **options: Any) -> str:
        with pytest.raises(ApiError) as raised:
            await self.create(tree, **options)
        assert isinstance(raised.value, Forbidden)
        assert raised.value.status()["code"] == 403
        return raised.value.message


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Api]:
    options.setdefault("admission", default_admission(disable=["ServiceAccount"]))
    async with MemoryStore() as store, ResourceRegistries(store, clock=LoopClock(), **options) as registries:
        await registries.bootstrap()
        yield Api(registries)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with opened() as api:
        yield api


def thing(kind: str, version: str = "v1", name: str = "x", namespace: str = "default", **parts: Any) -> Tree:
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), **parts.pop("metadata", {})}
    return {"kind": kind, "apiVersion": version, "metadata": meta, **parts}


def pod(name: str = "p", resources: Tree | None = None, **spec: Any) -> Tree:
    container = {"name": "c", "image": "i", **({"resources": resources} if resources else {})}
    return thing("Pod", name=name, spec={"containers": [container], **spec})


# Namespaces


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_the_namespaces_of_every_cluster_are_not_deleted(api: Api, name: str) -> None:
    with pytest.raises(Forbidden) as raised:
        await api.of("Namespace").delete(Key("", name))
    assert raised.value.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


async def test_nothing_is_created_in_a_missing_namespace_even_if_it_is_invalid(api: Api) -> None:
    with pytest.raises(ApiError) as raised:
        await api.create(thing("Pod", namespace="nowhere", spec={"containers": []}))
    assert raised.value.code == 404
    assert raised.value.message == 'namespaces "nowhere" not found'


async def test_nothing_is_created_in_a_namespace_that_goes(api: Api) -> None:
    await api.create(thing("Namespace", name="team", namespace=""))
    await api.of("Namespace").delete(Key("", "team"))
    with pytest.raises(Forbidden) as raised:
        await api.create(thing("ConfigMap", namespace="team"))
    assert raised.value.message == (
        'configmaps "x" is forbidden: unable to create new content in namespace team because it is being terminated'
    )
    assert raised.value.status()["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace team is being terminated",
            "field": "metadata.namespace",
        }
    ]


# LimitRanges


def limits(*items: Tree) -> Tree:
    return thing("LimitRange", name="limits", spec={"limits": list(items)})


async def test_a_limit_range_fills_in_what_containers_leave_open_and_says_so(api: Api) -> None:
    await api.create(
        limits({"type": "Container", "default": {"memory": "512Mi"}, "defaultRequest": {"memory": "256Mi"}})
    )
    made = await api.create(pod())
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "512Mi"},
        "requests": {"memory": "256Mi"},
    }
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: memory request for container c; memory limit for container c"
    }
    own = await api.create(pod("own", {"limits": {"memory": "1Gi"}}))
    assert own["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "1Gi"},
        "requests": {"memory": "1Gi"},
    }
    assert "annotations" not in own["metadata"]


@pytest.mark.parametrize(
    ("limit", "resources", "why"),
    [
        (
            {"type": "Container", "max": {"memory": "1Gi"}},
            {"limits": {"memory": "1536Mi"}, "requests": {"memory": "800Mi"}},
            "maximum memory usage per Container is 1Gi, but limit is 1536Mi",
        ),
        (
            {"type": "Container", "min": {"memory": "500Mi"}},
            {"limits": {"memory": "800Mi"}, "requests": {"memory": "100Mi"}},
            "minimum memory usage per Container is 500Mi, but request is 100Mi",
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}},
            {"requests": {"cpu": "500m"}},
            "maximum cpu usage per Pod is 1.  No limit is specified",
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}},
            None,
            "minimum cpu usage per Pod is 1.  No request is specified",
        ),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
            "cpu max limit to request ratio per Pod is 2, but provided ratio is 3.000000",
        ),
    ],
)
async def test_a_limit_range_refuses_what_is_out_of_bounds(
    api: Api, limit: Tree, resources: Tree | None, why: str
) -> None:
    await api.create(limits(limit))
    assert await api.refused(pod("p", resources)) == f'pods "p" is forbidden: {why}'


async def test_a_limit_range_says_everything_that_is_out_of_bounds(api: Api) -> None:
    await api.create(limits({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}))
    message = await api.refused(pod("p", {"limits": {"cpu": "2", "memory": "2Gi"}}))
    assert message == (
        'pods "p" is forbidden: [maximum cpu usage per Container is 1, but limit is 2,'
        " maximum memory usage per Container is 1Gi, but limit is 2Gi]"
    )


def claim(size: str, **spec: Any) -> Tree:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return thing("PersistentVolumeClaim", spec=spec)


async def test_a_limit_range_bounds_claims(api: Api) -> None:
    await api.create(
        limits({"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}, "min": {"storage": "1Gi"}})
    )
    assert await api.refused(claim("5Gi")) == (
        'persistentvolumeclaims "x" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 5Gi'
    )
    assert await api.refused(claim("500Mi")) == (
        'persistentvolumeclaims "x" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi'
    )
    await api.create(claim("2Gi"))


# Nodes, priorities, runtime classes


async def test_a_new_node_is_tainted_as_not_ready(api: Api) -> None:
    made = await api.create(thing("Node", namespace=""))
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def priority_class(name: str, value: int, **parts: Any) -> Tree:
    return thing("PriorityClass", "scheduling.k8s.io/v1", name, "", value=value, **parts)


async def test_the_priority_of_a_pod_is_that_of_its_class(api: Api) -> None:
    plain = await api.create(pod("plain"))
    assert (plain["spec"]["priority"], plain["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert "priorityClassName" not in plain["spec"]
    await api.create(priority_class("high", 1000, preemptionPolicy="Never"))
    high = await api.create(pod("high", priorityClassName="high"))
    assert (high["spec"]["priority"], high["spec"]["preemptionPolicy"]) == (1000, "Never")
    await api.create(priority_class("usual", 10, globalDefault=True))
    usual = await api.create(pod("usual"))
    assert (usual["spec"]["priority"], usual["spec"]["priorityClassName"]) == (10, "usual")
    critical = await api.create(pod("critical", priorityClassName="system-node-critical"))
    assert critical["spec"]["priority"] == 2000001000


async def test_a_pod_cannot_choose_its_own_priority_nor_an_unknown_class(api: Api) -> None:
    assert await api.refused(pod(priority=5)) == (
        'pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission'
        " controller computed 0 from the given PriorityClass name"
    )
    assert await api.refused(pod(priorityClassName="nope")) == (
        'pods "p" is forbidden: no PriorityClass with name nope was found'
    )


async def test_one_priority_class_at_most_is_the_default(api: Api) -> None:
    await api.create(priority_class("usual", 10, globalDefault=True))
    assert await api.refused(priority_class("other", 20, globalDefault=True)) == (
        'priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as default.'
        " Only one default can exist"
    )


async def test_a_runtime_class_brings_overhead_and_scheduling(api: Api) -> None:
    await api.create(
        thing(
            "RuntimeClass",
            "node.k8s.io/v1",
            "vm",
            "",
            handler="vm",
            overhead={"podFixed": {"cpu": "250m", "memory": "120Mi"}},
            scheduling={
                "nodeSelector": {"runtime": "vm"},
                "tolerations": [{"key": "vm", "operator": "Exists", "effect": "NoSchedule"}],
            },
        )
    )
    made = await api.create(pod(runtimeClassName="vm", nodeSelector={"disk": "ssd"}))
    assert made["spec"]["overhead"] == {"cpu": "250m", "memory": "120Mi"}
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "runtime": "vm"}
    assert {"key": "vm", "operator": "Exists", "effect": "NoSchedule"} in made["spec"]["tolerations"]
    for spec, why in (
        ({"runtimeClassName": "nope"}, 'pod rejected: RuntimeClass "nope" not found'),
        (
            {"runtimeClassName": "vm", "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "vm", "nodeSelector": {"runtime": "none"}},
            "conflict: runtimeClass.scheduling.nodeSelector[runtime] = vm; pod.spec.nodeSelector[runtime] = none",
        ),
    ):
        assert await api.refused(pod("q", **spec)) == f'pods "q" is forbidden: {why}'


# Storage and Ingresses


def storage_class(name: str, *, default: bool = False, **parts: Any) -> Tree:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return thing(
        "StorageClass",
        "storage.k8s.io/v1",
        name,
        "",
        metadata={"annotations": annotations},
        provisioner="example.com/disk",
        **parts,
    )


async def test_claims_without_a_class_get_the_default_one(api: Api) -> None:
    await api.create(storage_class("slow"))
    assert "storageClassName" not in (await api.create(claim("1Gi")))["spec"]
    await api.of("PersistentVolumeClaim").delete(Key("default", "x"))
    await api.create(storage_class("fast", default=True))
    empty = claim("1Gi", storageClassName="")
    empty["metadata"]["name"] = "empty"
    assert (await api.create(empty))["spec"]["storageClassName"] == ""
    usual = claim("1Gi")
    usual["metadata"]["name"] = "usual"
    assert (await api.create(usual))["spec"]["storageClassName"] == "fast"


async def test_claims_grow_only_when_bound_and_where_their_class_allows_it(api: Api) -> None:
    claims = api.of("PersistentVolumeClaim")
    await api.create(storage_class("fixed"))
    await api.create(storage_class("elastic", allowVolumeExpansion=True))
    for name, bound, why in (
        ("fixed", False, "spec is immutable after creation except resources.requests"),
        (
            "fixed",
            True,
            (
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
                " support resize"
            ),
        ),
        ("elastic", True, ""),
    ):
        tree = claim("1Gi", storageClassName=name)
        tree["metadata"]["name"] = f"{name}-{bound}".lower()
        made = await api.create(tree)
        key = Key("default", made["metadata"]["name"])
        if bound:
            made["status"] = {"phase": "Bound"}
            made = (await claims.update(key, made, subresource="status"))[0].tree()
            made["spec"]["volumeName"] = "v"
            made = (await claims.update(key, made))[0].tree()
        made["spec"]["resources"]["requests"]["storage"] = "2Gi"
        if not why:
            await claims.update(key, made)
            continue
        with pytest.raises(Forbidden if bound else Invalid) as raised:
            await claims.update(key, made)
        if bound:
            assert raised.value.message == f'persistentvolumeclaims "{key.name}" is forbidden: {why}'
        else:  # the rules of the kind come before those of admission
            assert why in raised.value.message


async def test_ingresses_without_a_class_get_the_default_one(api: Api) -> None:
    version = "networking.k8s.io/v1"
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    await api.create(
        thing(
            "IngressClass",
            version,
            "nginx",
            "",
            metadata={"annotations": annotations},
            spec={"controller": "k8s.io/ingress-nginx"},
        )
    )
    assert (await api.create(thing("Ingress", version, spec=backend)))["spec"]["ingressClassName"] == "nginx"
    old = thing(
        "Ingress",
        version,
        "old",
        metadata={"annotations": {"kubernetes.io/ingress.class": "other"}},
        spec=backend,
    )
    assert "ingressClassName" not in (await api.create(old))["spec"]


# Who may


async def test_nobody_asks_for_the_certificate_of_a_master(api: Api) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def request(group: str) -> Tree:
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)])
        key = ec.generate_private_key(ec.SECP256R1())
        signed = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
        text = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
        return thing(
            "CertificateSigningRequest",
            "certificates.k8s.io/v1",
            group.replace(":", "-"),
            "",
            spec={
                "request": text,
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        )

    assert await api.refused(request("system:masters")) == (
        'certificatesigningrequests.certificates.k8s.io "system-masters" is forbidden: use of'
        " kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )
    await api.create(request("people"))


@pytest.mark.parametrize(
    ("subresource", "verb", "status"),
    [
        ("approval", "approve", {"conditions": [{"type": "Approved", "status": "True"}]}),
        ("status", "sign", {"certificate": "Y2VydA=="}),
    ],
)
async def test_who_approves_or_signs_needs_leave_for_the_signer_or_its_domain(
    api: Api, subresource: str, verb: str, status: Tree
) -> None:
    spec = {"signerName": "example.com/mine", "request": "", "usages": ["client auth"]}
    old = thing("CertificateSigningRequest", "certificates.k8s.io/v1", "r", "", spec=spec, status={})
    new = {**old, "status": status}
    requests = api.of("CertificateSigningRequest", "certificates.k8s.io/v1")
    allowed: set[str] = set()
    asked: list[tuple[str, ...]] = []

    def allows(user: User, *what: str) -> bool:
        asked.append(what)
        return what[-1] in allowed

    api.registries.allows = allows
    with pytest.raises(Forbidden) as raised:
        await requests.admit("update", Key("", "r"), new, old, JANE, subresource)
    assert raised.value.message == (
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to'
        f' {verb} requests with signerName "example.com/mine"'
    )
    assert asked == [
        (verb, "certificates.k8s.io", "signers", "", "", "example.com/mine"),
        (verb, "certificates.k8s.io", "signers", "", "", "example.com/*"),
    ]
    for name in ("example.com/mine", "example.com/*"):
        allowed = {name}
        await requests.admit("update", Key("", "r"), new, old, JANE, subresource)
    allowed = set()
    if subresource == "status":
        await requests.admit("update", Key("", "r"), dict(old), old, JANE, subresource)


async def test_owner_references_are_for_those_who_may_delete_and_blocking_for_those_who_may_finalize() -> (
    None
):
    asked: list[tuple[str, ...]] = []

    def allows(user: User, *what: str) -> bool:
        asked.append((user.name, *what))
        return what[0] in may

    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1"}
    admission = default_admission(enable=["OwnerReferencesPermissionEnforcement"])
    async with opened(admission=admission) as api:
        api.registries.allows = allows
        may = {""}
        owned = thing("ConfigMap", metadata={"ownerReferences": [owner]})
        assert await api.refused(owned, user=JANE.user) == (
            'configmaps "x" is forbidden: cannot set an ownerRef on a resource you can\'t delete: , <nil>'
        )
        may = {"delete"}
        await api.create(owned, user=JANE.user)
        blocking = {**owner, "blockOwnerDeletion": True}
        owned = thing("ConfigMap", name="y", metadata={"ownerReferences": [blocking]})
        assert await api.refused(owned, user=JANE.user) == (
            'configmaps "y" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you'
            " can't set finalizers on: , <nil>"
        )
        assert asked[-1] == ("jane", "update", "apps", "replicasets", "finalizers", "default", "r")
        may = {"delete", "update"}
        await api.create(owned, user=JANE.user)


# Tolerations


async def test_pods_tolerate_a_lost_node_for_five_minutes_unless_they_say_otherwise(api: Api) -> None:
    def found(spec: Tree) -> dict[str, int | None]:
        return {t.get("key", ""): t.get("tolerationSeconds") for t in spec["tolerations"]}

    keys = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    assert found((await api.create(pod("a")))["spec"]) == dict.fromkeys(keys, 300)
    own = {"key": keys[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    assert found((await api.create(pod("b", tolerations=[own])))["spec"]) == {keys[0]: 5, keys[1]: 300}
    assert found((await api.create(pod("c", tolerations=[{"operator": "Exists"}])))["spec"]) == {"": None}


async def test_extended_resources_are_tolerated_when_told_so() -> None:
    admission = default_admission(enable=["ExtendedResourceToleration"], disable=["ServiceAccount"])
    async with opened(admission=admission) as api:
        made = await api.create(
            pod("p", {"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}})
        )
        assert {"key": "example.com/gpu", "operator": "Exists"} in made["spec"]["tolerations"]


# Service accounts

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


async def account(api: Api, name: str = "default", **parts: Any) -> None:
    await api.create(thing("ServiceAccount", name=name, **parts))


async def test_a_pod_acts_as_the_default_account_which_is_waited_for_and_brings_its_pull_secrets() -> None:
    async with opened(admission=default_admission()) as api, anyio.create_task_group() as group:

        async def later() -> None:
            await anyio.sleep(0.25)
            await account(api, imagePullSecrets=[{"name": "pull"}])

        group.start_soon(later)
        made = await api.create(pod())
        assert (made["spec"]["serviceAccountName"], made["spec"]["serviceAccount"]) == ("default", "default")
        assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]
        own = await api.create(pod("own", imagePullSecrets=[{"name": "mine"}]))
        assert own["spec"]["imagePullSecrets"] == [{"name": "mine"}]


async def test_a_pod_of_a_missing_account_is_refused() -> None:
    async with opened(admission=default_admission()) as api:
        assert await api.refused(pod(serviceAccountName="robot")) == (
            'pods "p" is forbidden: error looking up service account default/robot: serviceaccount "robot" not found'
        )


async def test_every_container_gets_the_token_of_its_account_unless_somebody_says_no() -> None:
    async with opened(admission=[ServiceAccountAdmission()]) as api:
        await account(api)
        await account(api, "shy", automountServiceAccountToken=False)
        tree = pod(initContainers=[{"name": "i", "image": "i"}])
        tree["spec"]["containers"].append(
            {"name": "d", "image": "i", "volumeMounts": [{"name": "e", "mountPath": MOUNT}]}
        )
        tree["spec"]["volumes"] = [{"name": "e", "emptyDir": {}}]
        spec = (await api.create(tree))["spec"]
        volume = spec["volumes"][1]
        assert re.fullmatch(r"kube-api-access-[a-z0-9]{5}", volume["name"])
        assert volume["projected"] == {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }
                },
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
        }
        mount = {"name": volume["name"], "readOnly": True, "mountPath": MOUNT}
        assert spec["initContainers"][0]["volumeMounts"] == [mount]
        assert spec["containers"][0]["volumeMounts"] == [mount]
        assert [m["name"] for m in spec["containers"][1]["volumeMounts"]] == ["e"]
        for name, parts, mounted in (
            ("a", {"serviceAccountName": "shy"}, False),
            ("b", {"serviceAccountName": "shy", "automountServiceAccountToken": True}, True),
            ("c", {"automountServiceAccountToken": False}, False),
        ):
            spec = (await api.create(pod(name, **parts)))["spec"]
            assert ("volumes" in spec) is mounted


async def test_an_account_can_keep_its_pods_from_other_secrets() -> None:
    async with opened(admission=default_admission()) as api:
        annotations = {"kubernetes.io/enforce-mountable-secrets": "true"}
        await account(api, metadata={"annotations": annotations}, secrets=[{"name": "known"}])
        await api.create(pod("a", volumes=[{"name": "v", "secret": {"secretName": "known"}}]))
        message = await api.refused(pod("b", volumes=[{"name": "v", "secret": {"secretName": "other"}}]))
        assert message == (
            'pods "b" is forbidden: volume with secret.secretName="other" is not allowed because service account default'
            " does not reference that secret"
        )


async def test_a_mirror_pod_has_no_account_and_no_secrets() -> None:
    async with opened(admission=default_admission()) as api:
        for spec, why in (
            ({"serviceAccountName": "x"}, "a mirror pod may not reference service accounts"),
            ({"imagePullSecrets": [{"name": "x"}]}, "a mirror pod may not reference secrets"),
        ):
            tree = pod(**spec, nodeName="n")
            tree["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "1"}
            assert await api.refused(tree) == f'pods "p" is forbidden: {why}'


# Plug-ins of third parties


class Labelled:
    """Gives a label to what is created, and refuses a name."""

    name = "Labelled"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bool]] = []

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        return resource.kind == "ConfigMap"

    async def mutate(self, attributes: Attributes) -> None:
        self.seen.append((attributes.verb, attributes.user.name, attributes.dry_run))
        if attributes.verb == "create":
            attributes.tree["metadata"]["labels"] = {"by": attributes.user.name}

    async def validate(self, attributes: Attributes) -> None:
        if attributes.key.name == "bad":
            raise attributes.forbidden("bad name")


async def test_third_parties_add_plug_ins_that_see_user_operation_and_dry_run() -> None:
    plugin = Labelled()
    async with opened(admission=[*default_admission(), plugin]) as api:
        made = await api.create(thing("ConfigMap"), user=JANE.user)
        assert made["metadata"]["labels"] == {"by": "jane"}
        assert await api.refused(thing("ConfigMap", name="bad"), user=JANE.user, dry_run=True) == (
            'configmaps "bad" is forbidden: bad name'
        )
        await api.of("ConfigMap").delete(Key("default", "x"), options=JANE)
        await api.create(thing("Secret"))
        assert plugin.seen == [("create", "jane", False), ("create", "jane", True), ("delete", "jane", False)]


def test_an_unknown_plug_in_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="there is no admission plug-in 'Nope'; there are NamespaceLifecycle"
    ):
        default_admission(disable=["Nope"])
