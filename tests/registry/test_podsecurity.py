"""Pod Security Standards: what each level and version refuses, in Kubernetes' words."""

from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest

from kubelib.api.errors import Forbidden, Invalid
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import default_admission
from kubelib.registry.admission.podsecurity import LevelVersion, PodSecurity, Policy
from kubelib.registry.admission.podsecurity.checks import violations
from kubelib.registry.admission.podsecurity.levels import policy_of
from kubelib.registry.base import User, WriteOptions
from kubelib.store import MemoryStore

Tree = dict[str, Any]
BASELINE, RESTRICTED = LevelVersion("baseline"), LevelVersion("restricted")
LABEL = "pod-security.kubernetes.io/"
SAFE: Tree = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(security: Tree | None = None, container: Tree | None = None, **parts: Any) -> Tree:
    main = {
        "name": "c",
        "image": "i",
        **({"securityContext": security} if security else {}),
        **(container or {}),
    }
    return {"containers": [main], **parts}


def told(level: LevelVersion, spec: Tree, **meta: Any) -> str:
    return ", ".join(str(violation) for violation in violations(level, meta, spec))


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        (spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            spec({"privileged": True}),
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        (
            spec({"capabilities": {"add": ["NET_RAW", "CHOWN"]}}),
            'non-default capabilities (container "c" must not include "NET_RAW" in securityContext.capabilities.add)',
        ),
        (
            spec(
                volumes=[{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}]
            ),
            'hostPath volumes (volumes "a", "b")',
        ),
        (
            spec(container={"ports": [{"containerPort": 1, "hostPort": 80}]}),
            'hostPort (container "c" uses hostPort 80)',
        ),
        (
            spec(container={"livenessProbe": {"httpGet": {"port": 1, "host": "10.0.0.1"}}}),
            'probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")',
        ),
        (
            spec({"appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
        ),
        (
            spec(
                {"seLinuxOptions": {"user": "u"}},
                securityContext={"seLinuxOptions": {"type": "spc_t"}},
            ),
            (
                'seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may'
                " not be set)"
            ),
        ),
        (
            spec({"procMount": "Unmasked"}),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            spec({"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            spec(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            spec(securityContext={"windowsOptions": {"hostProcess": True}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (spec(), ""),
    ],
)
def test_the_baseline(pod: Tree, why: str) -> None:
    assert told(BASELINE, pod) == why
    assert told(LevelVersion("privileged"), pod) == ""


def test_a_plain_pod_breaks_the_restricted_level_as_the_documentation_shows() -> None:
    assert told(RESTRICTED, {"containers": [{"name": "nginx"}]}) == (
        'allowPrivilegeEscalation != false (container "nginx" must set securityContext.allowPrivilegeEscalation=false),'
        ' unrestricted capabilities (container "nginx" must set securityContext.capabilities.drop=["ALL"]),'
        ' runAsNonRoot != true (pod or container "nginx" must set securityContext.runAsNonRoot=true),'
        ' seccompProfile (pod or container "nginx" must set securityContext.seccompProfile.type to "RuntimeDefault" or'
        ' "Localhost")'
    )
    assert told(RESTRICTED, spec(SAFE)) == ""


@pytest.mark.parametrize(
    ("change", "parts", "why"),
    [
        (
            {"capabilities": {"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}},
            {},
            'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
        ({"runAsUser": 0}, {}, 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            {"runAsNonRoot": False},
            {"securityContext": {"runAsNonRoot": False}},
            'runAsNonRoot != true (pod and container "c" must not set securityContext.runAsNonRoot=false)',
        ),
        (
            {},
            {
                "volumes": [
                    {"name": "v", "nfs": {}},
                    {"name": "w", "hostPath": {}},
                    {"name": "x", "emptyDir": {}},
                ]
            },
            'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")',
        ),
        (
            {"procMount": "Unmasked"},
            {"hostUsers": False},
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        ({"runAsUser": 0, "runAsNonRoot": False}, {"hostUsers": False}, ""),
    ],
)
def test_the_restricted_level(change: Tree, parts: Tree, why: str) -> None:
    assert told(RESTRICTED, spec({**SAFE, **change}, **parts)) == why


def test_a_level_is_as_it_was_in_its_version() -> None:
    assert told(LevelVersion("restricted", 7), spec({**SAFE, "allowPrivilegeEscalation": True})) == ""
    assert told(LevelVersion("restricted", 21), spec({**SAFE, "capabilities": {}})) == ""
    assert told(LevelVersion("restricted", 22), spec({**SAFE, "runAsUser": 0})) == ""
    assert "capabilities" in told(LevelVersion("restricted", 22), spec({**SAFE, "capabilities": {}}))
    keepalive = spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "1"}]})
    assert told(LevelVersion("baseline", 28), keepalive) == "forbidden sysctls (net.ipv4.tcp_keepalive_time)"
    assert told(LevelVersion("baseline", 29), keepalive) == ""
    probe = spec(container={"livenessProbe": {"tcpSocket": {"port": 1, "host": "h"}}})
    assert told(LevelVersion("baseline", 33), probe) == ""
    windows = spec({"runAsNonRoot": True}, os={"name": "windows"})
    assert told(LevelVersion("restricted", 25), windows) == ""
    assert "seccompProfile" in told(LevelVersion("restricted", 24), windows)
    annotated = {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}
    assert told(LevelVersion("baseline", 18), spec(), **annotated) == (
        'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    )
    assert told(LevelVersion("baseline", 19), spec(), **annotated) == ""


def test_labels_choose_levels_and_warnings_follow_what_is_enforced() -> None:
    policy, problems = policy_of({f"{LABEL}enforce": "baseline", f"{LABEL}enforce-version": "v1.30"})
    assert problems == []
    assert (str(policy.enforce), str(policy.warn), str(policy.audit)) == (
        "baseline:v1.30",
        "baseline:v1.30",
        "privileged:latest",
    )
    policy, _ = policy_of({f"{LABEL}enforce": "restricted", f"{LABEL}warn": "privileged"})
    assert policy.warn.level == "privileged"


# Over a registry


class Api:
    def __init__(self, registries: ResourceRegistries) -> None:
        self.registries = registries
        self.warnings: list[str] = []
        self.annotations: dict[str, str] = {}

    def options(self, user: str = "jane") -> WriteOptions:
        return WriteOptions(user=User(user), warn=self.warnings.append, annotate=self.annotations.__setitem__)

    def of(self, kind: str, version: str = "v1") -> Any:
        return self.registries.of(self.registries.scheme.kind(version, kind))

    async def namespace(self, **labels: str) -> None:
        named = {LABEL + name.replace("_", "-"): value for name, value in labels.items()}
        tree = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "team", "labels": named}}
        await self.of("Namespace").create(tree, options=self.options())

    async def pod(self, name: str = "p", user: str = "jane", **parts: Any) -> None:
        tree = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "team"},
            "spec": deepcopy(spec(**parts)),
        }
        await self.of("Pod").create(tree, namespace="team", options=self.options(user))


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        yield Api(registries)


async def test_a_pod_that_breaks_the_enforced_level_is_refused(api: Api) -> None:
    await api.namespace(enforce="baseline")
    with pytest.raises(Forbidden) as raised:
        await api.pod(hostNetwork=True)
    assert raised.value.message == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    assert api.warnings == []
    await api.pod()
    assert api.annotations[f"{LABEL}enforce-policy"] == "baseline:latest"


async def test_other_modes_warn_and_note_but_let_pass(api: Api) -> None:
    await api.namespace(warn="baseline", audit="restricted", audit_version="v1.22")
    await api.pod(hostPID=True)
    assert api.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)']
    assert api.annotations[f"{LABEL}audit-violations"].startswith(
        'would violate PodSecurity "restricted:v1.22": host namespaces (hostPID=true), allowPrivilegeEscalation'
    )


async def test_what_makes_pods_is_stored_with_a_warning(api: Api) -> None:
    await api.namespace(enforce="baseline")
    deployment = {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "d", "namespace": "team"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec({"privileged": True})},
        },
    }
    await api.of("Deployment", "apps/v1").create(deployment, namespace="team", options=api.options())
    assert api.warnings == [
        (
            'would violate PodSecurity "baseline:latest": privileged (container "c" must not set'
            " securityContext.privileged=true)"
        )
    ]


async def test_a_namespace_with_wrong_labels_is_invalid(api: Api) -> None:
    with pytest.raises(Invalid) as raised:
        await api.namespace(enforce="strict", warn_version="1.2")
    assert raised.value.message == (
        'Namespace "team" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict":'
        " must be one of privileged, baseline, restricted,"
        ' metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.2": must be "latest" or "v1.x"]'
    )


async def test_a_stricter_level_warns_of_pods_that_are_there(api: Api) -> None:
    await api.namespace()
    for name in ("a", "b", "c"):
        await api.pod(name, hostNetwork=True)
    await api.pod("d", hostIPC=True, volumes=[{"name": "v", "hostPath": {"path": "/"}}])
    namespaces = api.of("Namespace")
    tree = (await namespaces.get(Key("", "team"))).tree()
    tree["metadata"]["labels"][f"{LABEL}enforce"] = "baseline"
    await namespaces.update(Key("", "team"), tree, options=api.options())
    assert api.warnings == [
        'existing pods in namespace "team" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 2 other pods): host namespaces",
        "d: host namespaces, hostPath volumes",
    ]


async def test_an_old_pod_is_judged_again_only_when_its_images_change(api: Api) -> None:
    await api.namespace()
    await api.pod(hostNetwork=True)
    namespaces, pods, key = api.of("Namespace"), api.of("Pod"), Key("team", "p")
    tree = (await namespaces.get(Key("", "team"))).tree()
    tree["metadata"]["labels"][f"{LABEL}enforce"] = "baseline"
    await namespaces.update(Key("", "team"), tree, options=api.options())
    pod = (await pods.get(key)).tree()
    pod["metadata"]["labels"] = {"a": "b"}
    pod = (await pods.update(key, pod, options=api.options()))[0].tree()
    pod["spec"]["containers"][0]["image"] = "other"
    with pytest.raises(Forbidden, match="violates PodSecurity"):
        await pods.update(key, pod, options=api.options())


async def test_defaults_and_exemptions_can_be_configured() -> None:
    strict = PodSecurity(
        Policy(enforce=LevelVersion("baseline")), users=["system:builder"], namespaces=["kube-system"]
    )
    others = default_admission(disable=["PodSecurity", "ServiceAccount"])
    async with (
        MemoryStore() as store,
        ResourceRegistries(store, admission=[*others, strict]) as registries,
    ):
        await registries.bootstrap()
        api = Api(registries)
        await api.namespace()
        with pytest.raises(Forbidden, match="violates PodSecurity"):
            await api.pod(hostNetwork=True)
        await api.pod(user="system:builder", hostNetwork=True)
        assert api.annotations[f"{LABEL}exempt"] == "user"


def counted(plugin: PodSecurity) -> dict[str, dict[str, float]]:
    """Return what is counted, by metric and by the values of the labels."""
    found: dict[str, dict[str, float]] = {}
    for metric, sample in plugin.figures.samples():
        found.setdefault(metric, {})[" ".join(sample.labels.values())] = sample.value
    return found


async def test_judgements_exemptions_and_errors_are_counted_as_in_kubernetes() -> None:
    plugin = PodSecurity(users=["system:builder"])
    others = default_admission(disable=["PodSecurity", "ServiceAccount"])
    async with (
        MemoryStore() as store,
        ResourceRegistries(store, admission=[*others, plugin]) as registries,
    ):
        await registries.bootstrap()
        api = Api(registries)
        await api.namespace(enforce="baseline", audit="restricted", audit_version="v1.22", warn="restricted",
                            warn_version="v1.99")  # fmt: skip
        await api.pod()
        with pytest.raises(Forbidden):
            await api.pod("q", hostNetwork=True)
        with pytest.raises(Forbidden):
            await api.pod("r", hostNetwork=True)
        await api.pod("s", "system:builder", hostNetwork=True)
    assert counted(plugin) == {
        "evaluations_total": {
            "allow baseline latest enforce create pod ": 1,
            "deny baseline latest enforce create pod ": 2,
            "deny restricted v1.22 audit create pod ": 3,
            "deny restricted future warn create pod ": 1,  # who is refused is not warned
        },
        "exemptions_total": {"create pod ": 1},
    }
