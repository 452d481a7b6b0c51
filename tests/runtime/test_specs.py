"""What a Pod says, translated for runtimes and engines: pure functions."""

import base64
import json
import re
import struct
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from kubelib.api.core.config import Secret
from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ContainerPort, ResourceRequirements, VolumeMount
from kubelib.api.core.pod import HostAlias, Pod, PodDNSConfig, PodDNSConfigOption, PodStatus
from kubelib.api.core.references import LocalObjectReference
from kubelib.api.core.security import (
    AppArmorProfile,
    Capabilities,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    SELinuxOptions,
    Sysctl,
)
from kubelib.api.meta import Object, ObjectMeta
from kubelib.api.model import replace
from kubelib.runtime import containers, termination
from kubelib.runtime.base import (
    BadContainerConfig,
    CannotCreate,
    Container,
    ContainerId,
    ContainerSpec,
    Credentials,
    Dns,
    ImageId,
    ImageNotFound,
    Mount,
    PortMapping,
    Resources,
    SandboxSpec,
    Security,
)
from kubelib.runtime.counts import Counts
from kubelib.runtime.credentials import credentials_for, parse_docker_config
from kubelib.runtime.environment import ConfigMissing, environment
from kubelib.runtime.hostnames import hostname_of
from kubelib.runtime.names import dns_of, hosts_file, parse_resolv_conf, within_limits
from kubelib.runtime.pulls import Pulls
from kubelib.runtime.specs import (
    container_spec,
    oom_score_of,
    sandbox_spec,
    security_of,
    whole_of,
)
from kubelib.testing.objects import make_pod
from tests.runtime.conftest import Configuration

HOST = Dns(servers=("192.0.2.1",), searches=("host.example",), options=("timeout:1",))


def pod(**spec: Any) -> Pod:
    spec.setdefault("containers", (ContainerDefinition(name="main", image="busybox"),))
    return make_pod("web-1", **spec)


# Sandboxes


def test_a_sandbox_has_the_namespaces_ports_and_sysctls_that_its_pod_asks_for() -> None:
    ports = (
        ContainerPort(container_port=80, host_port=8080),
        ContainerPort(container_port=53, host_port=53, protocol="UDP", host_ip="127.0.0.1"),
        ContainerPort(container_port=9000),
    )
    wanted = pod(
        containers=(ContainerDefinition(name="main", ports=ports),),
        host_pid=True,
        host_ipc=True,
        share_process_namespace=True,
        hostname="front",
        security_context=PodSecurityContext(sysctls=(Sysctl(name="net.core.somaxconn", value="99"),)),
    )
    spec = sandbox_spec(wanted, address="10.0.0.1", dns=HOST)
    assert set(spec.ports) == {PortMapping(8080, 80), PortMapping(53, 53, "UDP", "127.0.0.1")}
    assert (spec.host_pid, spec.host_ipc, spec.share_processes, spec.host_network) == (
        True,
        True,
        True,
        False,
    )
    assert (spec.hostname, spec.address, spec.dns) == ("front", "10.0.0.1", HOST)
    assert spec.sysctls == {"net.core.somaxconn": "99"}


@pytest.mark.parametrize(
    ("spec", "kernel", "hosts"),
    [
        ({}, "web-1", "web-1"),
        ({"hostname": "front"}, "front", "front"),
        ({"hostname": "front", "subdomain": "sub"}, "front", "front.sub.default.svc.a.example\tfront"),
        ({"subdomain": "sub"}, "web-1", "web-1.sub.default.svc.a.example\tweb-1"),
        (
            {"subdomain": "sub", "set_hostname_as_fqdn": True},
            "web-1.sub.default.svc.a.example",
            "web-1.sub.default.svc.a.example\tweb-1",
        ),
        ({"set_hostname_as_fqdn": True}, "web-1", "web-1"),
        ({"hostname_override": "any.name", "hostname": "front", "subdomain": "sub"}, "any.name", "any.name"),
        ({"hostname_override": "a" * 62 + "-b"}, "a" * 62, "a" * 62),
    ],
)
async def test_a_pod_is_called_as_it_says(
    spec: dict[str, Any], kernel: str, hosts: str, configuration: Configuration
) -> None:
    wanted = pod(**spec)
    assert sandbox_spec(wanted, domain="a.example").hostname == kernel
    assert hosts_file(wanted, "10.0.0.1", domain="a.example", host="").endswith(f"10.0.0.1\t{hosts}\n")
    [main] = wanted.spec.containers
    variables = await environment(
        wanted, main, configuration, (), address="10.0.0.1", host="192.0.2.1", domain="a.example"
    )
    assert variables["HOSTNAME"] == kernel


async def test_a_pod_in_the_network_of_its_node_is_called_as_the_machine_is(
    configuration: Configuration,
) -> None:
    wanted = pod(host_network=True)
    [main] = wanted.spec.containers
    variables = await environment(wanted, main, configuration, (), address="192.0.2.1", host="192.0.2.1")
    assert variables["HOSTNAME"] == gethostname()


def test_a_whole_name_that_the_kernel_does_not_take_keeps_a_pod_from_starting() -> None:
    wanted = pod(subdomain="sub", set_hostname_as_fqdn=True)
    whole = f"web-1.sub.default.svc.{'a' * 60}"
    with pytest.raises(CannotCreate, match=rf"FQDN {whole} is too long \(64 characters is the max, 82 "):
        sandbox_spec(wanted, domain="a" * 60)


def test_a_pod_weighs_what_it_asks_for_and_is_limited_as_it_says_itself() -> None:
    def asking(cpu: str, **more: Any) -> ContainerDefinition:
        resources = ResourceRequirements(requests={"cpu": cpu}, limits={"cpu": "2", "memory": "1Gi"})
        return ContainerDefinition(name=f"c{cpu}", resources=resources, **more)

    both = (asking("250m"), asking("500m"))
    assert whole_of(pod(containers=both)) == Resources(cpu_request=0.75)
    assert whole_of(pod(containers=both, init_containers=(asking("1"),))) == Resources(cpu_request=1.0)
    sidecar = asking("1", restart_policy="Always")
    assert whole_of(pod(containers=both, init_containers=(sidecar,))) == Resources(cpu_request=1.75)
    assert whole_of(pod(containers=both, overhead={"cpu": "50m"})) == Resources(cpu_request=0.8)
    whole = ResourceRequirements(requests={"cpu": "2"}, limits={"memory": "64Mi"})
    assert whole_of(pod(containers=both, resources=whole)) == Resources(cpu_request=2.0, memory=64 << 20)
    assert whole_of(pod(containers=(ContainerDefinition(name="main"),))) == Resources()


def test_a_pod_on_the_nodes_network_maps_no_ports() -> None:
    ports = (ContainerPort(container_port=80, host_port=80),)
    spec = sandbox_spec(pod(containers=(ContainerDefinition(name="a", ports=ports),), host_network=True))
    assert spec.host_network
    assert spec.ports == ()


def test_a_hostname_has_at_most_63_characters_and_ends_in_one_of_a_name() -> None:
    assert hostname_of(make_pod("a" * 62 + "-" + "b" * 20)) == "a" * 62


# Containers


def spec_of(definition: ContainerDefinition, wanted: Pod | None = None, **more: Any) -> ContainerSpec:
    given = {"attempt": 0, "env": {}, "volumes": {}, "log_path": Path("/log")}
    return container_spec(wanted or pod(containers=(definition,)), definition, **{**given, **more})


def test_what_a_container_mounts_itself_goes_before_what_the_node_adds(tmp_path: Path) -> None:
    definition = ContainerDefinition(
        name="a", volume_mounts=(VolumeMount(name="v", mount_path="/etc/hosts", read_only=True),)
    )
    more = [Mount("/node/hosts", "/etc/hosts"), Mount("/node/log", "/dev/termination-log")]
    mounts = spec_of(definition, volumes={"v": tmp_path}, more=more).mounts
    assert list(mounts) == [Mount(str(tmp_path), "/etc/hosts", True), more[1]]


def test_a_sub_path_is_made_and_may_not_lead_out_of_its_volume(tmp_path: Path) -> None:
    def mounting(path: str) -> ContainerDefinition:
        mount = VolumeMount(name="v", mount_path="/data", sub_path=path)
        return ContainerDefinition(name="a", volume_mounts=(mount,))

    [mount] = spec_of(mounting("a/b"), volumes={"v": tmp_path}).mounts
    assert mount.source == str(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "file").touch()
    for path, why in (
        ("../x", "unable to provision SubPath `../x`: must not contain '..'"),
        ("/x", "error SubPath `/x` must not be an absolute path"),
        ("link", 'failed to prepare subPath for volumeMount "v" of container "a"'),
        ("file/x", 'failed to create subPath directory for volumeMount "v" of container "a"'),
    ):
        with pytest.raises(ConfigMissing, match=f"^{re.escape(why)}$"):
            spec_of(mounting(path), volumes={"v": tmp_path})


def test_what_a_sub_path_names_must_have_a_value(tmp_path: Path) -> None:
    mount = VolumeMount(name="v", mount_path="/data", sub_path_expr="$(B)/$$(D)/$(A)/$(C)")
    definition = ContainerDefinition(name="a", volume_mounts=(mount,))
    with pytest.raises(ConfigMissing, match=r"^missing value for B, C$"):
        spec_of(definition, volumes={"v": tmp_path}, env={"A": "1", "B": ""})
    [mounted] = spec_of(definition, volumes={"v": tmp_path}, env={"A": "1", "B": "2", "C": "3"}).mounts
    assert mounted.source == str(tmp_path / "2/$(D)/1/3")


def test_the_security_of_a_container_goes_before_that_of_its_pod() -> None:
    own = SecurityContext(
        capabilities=Capabilities(add=("CAP_NET_ADMIN", "sys_time"), drop=("ALL",)),
        run_as_non_root=False,
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        proc_mount="Unmasked",
        seccomp_profile=SeccompProfile(type="Unconfined"),
        app_armor_profile=AppArmorProfile(type="Unconfined"),
        se_linux_options=SELinuxOptions(level="s0:c1,c2", type="mine_t"),
    )
    shared = PodSecurityContext(
        run_as_non_root=True,
        supplemental_groups=(7,),
        fs_group=8,
        seccomp_profile=SeccompProfile(type="Localhost", localhost_profile="p.json"),
        app_armor_profile=AppArmorProfile(type="Localhost", localhost_profile="loaded"),
        se_linux_options=SELinuxOptions(role="theirs_r"),
    )
    found = security_of(own, shared)
    assert found == Security(
        read_only_root=True,
        add_capabilities=["NET_ADMIN", "SYS_TIME"],
        drop_capabilities=["ALL"],
        no_new_privileges=True,
        supplemental_groups=[7, 8],
        seccomp="Unconfined",
        apparmor="Unconfined",
        selinux={"type": "mine_t", "level": "s0:c1,c2"},
        unmasked_proc=True,
    )
    inherited = security_of(None, shared)
    assert inherited.non_root
    assert inherited.seccomp == "/var/lib/kubelet/seccomp/p.json"
    assert (inherited.apparmor, inherited.selinux) == ("loaded", {"role": "theirs_r"})
    default = SecurityContext(app_armor_profile=AppArmorProfile(type="RuntimeDefault"))
    assert security_of(default, shared).apparmor == ""
    assert security_of(None, None) == Security(
        add_capabilities=[], drop_capabilities=[], supplemental_groups=[]
    )
    assert not security_of(
        SecurityContext(privileged=True, allow_privilege_escalation=False), None
    ).no_new_privileges


def test_users_and_groups_of_the_pod_are_for_containers_that_have_none() -> None:
    shared = PodSecurityContext(run_as_user=1000, run_as_group=1001)
    definition = ContainerDefinition(name="a", security_context=SecurityContext(run_as_user=0))
    spec = spec_of(definition, pod(containers=(definition,), security_context=shared))
    assert (spec.user, spec.group) == (0, 1001)


@pytest.mark.parametrize(
    ("quality", "request_", "score"),
    [
        ("Guaranteed", "1Gi", -997),
        ("BestEffort", "0", 1000),
        ("Burstable", "1Gi", 750),
        ("Burstable", "0", 999),
        ("Burstable", "4Gi", 3),
    ],
)
def test_the_kernel_kills_first_what_was_promised_least(quality: str, request_: str, score: int) -> None:
    wanted = replace(pod(), status=PodStatus(qos_class=quality))
    definition = ContainerDefinition(name="a", resources=ResourceRequirements(requests={"memory": request_}))
    assert oom_score_of(wanted, definition, 4 << 30) == score


# Names


def test_the_hosts_file_has_the_pods_name_and_its_aliases() -> None:
    aliases = (HostAlias(ip="192.0.2.9", hostnames=("db", "db.example")),)
    text = hosts_file(
        pod(host_aliases=aliases, subdomain="web"), "10.0.0.1", domain="cluster.local", host="unused"
    )
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost")
    assert "10.0.0.1\tweb-1.web.default.svc.cluster.local\tweb-1\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n192.0.2.9\tdb\tdb.example\n")
    shared = hosts_file(pod(host_network=True), "10.0.0.1", domain="cluster.local", host="192.0.2.1 host\n")
    assert shared == "# Kubernetes-managed hosts file (host network).\n192.0.2.1 host\n"


def dns(cluster: tuple[str, ...] = ("10.96.0.10",), **spec: Any) -> Dns:
    return dns_of(pod(**spec), host=HOST, cluster=cluster, domain="cluster.local")


def test_dns_follows_the_pods_policy() -> None:
    own = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "host.example")
    by_cluster = Dns(servers=("10.96.0.10",), searches=own, options=("ndots:5",))
    assert dns() == by_cluster
    assert dns(dns_policy="ClusterFirst", host_network=True) == Dns()
    assert dns(dns_policy="ClusterFirstWithHostNet", host_network=True) == by_cluster
    assert dns(dns_policy="Default") == Dns()
    assert dns(cluster=()) == Dns()


def test_no_more_servers_and_domains_are_told_than_resolvers_can_do_with() -> None:
    few = Dns(servers=("a", "b", "c"), searches=tuple(f"d{n}" for n in range(32)), options=("ndots:5",))
    assert within_limits(few) == (few, [])
    servers = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
    found, told = within_limits(Dns(servers=(*servers, "192.0.2.4"), searches=("x" * 254, "a.example")))
    assert (found.servers, found.searches) == (servers, ("a.example",))
    omitted = "limits were exceeded, some nameservers have been omitted, the applied nameserver line is"
    assert told[0] == f"Nameserver {omitted}: 192.0.2.1 192.0.2.2 192.0.2.3"
    omitted = "limits were exceeded, some search paths have been omitted, the applied search line is"
    assert told[1:] == [f"Search Line {omitted}: a.example"]
    found, told = within_limits(Dns(searches=tuple(f"d{n}" for n in range(40))))
    assert found.searches == tuple(f"d{n}" for n in range(32))
    found, told = within_limits(Dns(searches=tuple(f"{n}".zfill(250) for n in range(9))))
    assert len(found.searches) == 8
    assert len(told) == 1


def test_domains_of_the_host_are_searched_once_with_or_without_a_dot() -> None:
    host = parse_resolv_conf("search cluster.local. host.example. .\n")
    assert host.searches == ("cluster.local", "host.example", ".")
    found = dns_of(pod(), host=host, cluster=("10.96.0.10",), domain="cluster.local")
    own = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
    assert found.searches == (*own, "host.example", ".")


def test_a_dns_configuration_is_added_to_the_policys() -> None:
    options = (PodDNSConfigOption(name="ndots", value="2"), PodDNSConfigOption(name="rotate"))
    config = PodDNSConfig(nameservers=("192.0.2.2", "192.0.2.1"), searches=("more.example",), options=options)
    assert dns(dns_policy="None", dns_config=config) == Dns(
        servers=("192.0.2.2", "192.0.2.1"), searches=("more.example",), options=("ndots:2", "rotate")
    )
    found = dns(dns_policy="Default", dns_config=config)
    assert found.servers == ("192.0.2.1", "192.0.2.2")
    assert found.searches == ("host.example", "more.example")
    assert found.options == ("timeout:1", "ndots:2", "rotate")


# Credentials


def config(**entries: Any) -> bytes:
    return json.dumps({"auths": entries}).encode()


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_credentials_are_found_by_registry_path_and_pattern_the_nearest_first() -> None:
    known = parse_docker_config(
        config(
            **{
                "https://index.docker.io/v1/": auth("hub", "1"),
                "r.example": auth("all", "2"),
                "r.example/team": auth("team", "3:with"),
                "*.example": {"username": "wild", "password": "4"},
                "r.example:5000": {"identitytoken": "t"},
            }
        )
    )

    def names(image: str) -> list[str]:
        return [found.username for found in credentials_for(image, known)]

    assert names("nginx") == ["hub"]
    assert names("r.example/team/app:1") == ["team", "all", "wild"]
    assert names("r.example/teams/app") == ["all", "wild"]
    assert names("a.r.example/app") == []
    assert names("x.example/app") == ["wild"]
    assert [c.identity_token for c in credentials_for("r.example:5000/app", known)] == ["t"]
    assert credentials_for("r.example/team/app", known)[0].password == "3:with"
    assert "with" not in repr(credentials_for("r.example/team/app", known))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no JSON"),
        (b"[]", "no .auths"),
        (b'{"auths": 1}', "no .auths"),
        (config(r=1), "entry of r is no object"),
        (config(r={"auth": "%"}), "auth of r is not base64"),
    ],
)
def test_a_damaged_configuration_is_an_error(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_docker_config(text)


class Said:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def normal(self, about: Object, reason: str, message: str) -> None:
        self.reasons.append(reason)

    warning = normal


class Registry:
    """A runtime of which only the images matter: it lets in one user."""

    name = "registry"

    def __init__(self, user: str) -> None:
        self.user = user
        self.asked: list[str] = []

    async def has_image(self, image: str) -> bool:
        return False

    async def pull(self, image: str, *, credentials: Credentials | None = None) -> ImageId:
        self.asked.append(credentials.username if credentials else "")
        if self.asked[-1] != self.user:
            raise ImageNotFound("unauthorized: authentication required")
        return ImageId(image)


def secret(text: bytes, kind: str = "kubernetes.io/dockerconfigjson") -> Secret:
    data = {".dockerconfigjson": base64.b64encode(text).decode()}
    return Secret(metadata=ObjectMeta(name="s"), type=kind, data=data)


async def test_an_image_is_pulled_with_the_credentials_of_the_pods_secrets_in_turn(
    configuration: Configuration,
) -> None:
    configuration.secrets = {
        "one": secret(config(**{"r.example/a": auth("first", "1")})),
        "two": secret(config(**{"r.example": auth("second", "2")})),
        "bad": secret(b"x"),
        "odd": secret(b"{}", kind="Opaque"),
    }
    names = ("one", "bad", "two", "odd", "missing")
    definition = ContainerDefinition(name="main", image="r.example/a/b:1")
    wanted = pod(
        containers=(definition,), image_pull_secrets=tuple(LocalObjectReference(name=name) for name in names)
    )
    registry, said = Registry("second"), Said()
    assert await Pulls(registry, said, configuration, Counts()).ensure(wanted, definition) is None  # type: ignore[arg-type]
    assert registry.asked == ["first", "second"]
    assert said.reasons == [
        "Pulling",
        "FailedToParseImagePullSecret",
        "FailedToParseImagePullSecret",
        "FailedToRetrieveImagePullSecret",
        "Pulled",
    ]
    stranger = Registry("nobody")
    waiting = await Pulls(stranger, said, configuration, Counts()).ensure(wanted, definition)  # type: ignore[arg-type]
    assert waiting == ("ErrImagePull", "unauthorized: authentication required")
    assert stranger.asked == ["first", "second"]


async def test_without_credentials_an_image_is_asked_for_by_nobody(configuration: Configuration) -> None:
    registry = Registry("")
    definition = pod().spec.containers[0]
    assert await Pulls(registry, Said(), configuration, Counts()).ensure(pod(), definition) is None  # type: ignore[arg-type]
    assert registry.asked == [""]


# Termination messages


def ended(file: Path, definition: ContainerDefinition, code: int = 1) -> Container:
    return Container(
        id=ContainerId("1"),
        name="main",
        image="",
        state="exited",
        exit_code=code,
        annotations=termination.annotations_of(definition, file),
    )


def message(container: Container, log: Path) -> str:
    [found] = termination.Messages().added([container], lambda _: log)
    return found.message


def test_the_message_of_a_container_is_its_file_else_if_so_wanted_the_end_of_its_log(tmp_path: Path) -> None:
    file, log = tmp_path / "of" / "0", tmp_path / "log"
    plain = ContainerDefinition(name="main", termination_message_path="/tmp/why")
    from_log = ContainerDefinition(name="main", termination_message_policy="FallbackToLogsOnError")
    assert termination.termination_mount(plain, file) == Mount(str(file), "/tmp/why")
    assert termination.termination_mount(from_log, file).target == "/dev/termination-log"
    assert file.stat().st_mode & 0o777 == 0o666
    log.write_text("".join(f"2026-01-01T00:00:00.000000000Z stdout F line {n}\n" for n in range(1000)))
    assert message(ended(file, plain), log) == ""
    assert message(ended(file, from_log, code=0), log) == ""
    end = message(ended(file, from_log), log)
    assert end.splitlines()[0] == "line 920"
    assert end.endswith("line 999\n")
    log.write_text("2026-01-01T00:00:00.000000000Z stdout F " + "x" * 5000 + "\n")
    assert len(message(ended(file, from_log), log)) == 2048
    file.write_text("y" * 5000)
    assert message(ended(file, from_log), log) == "y" * 4096
    assert message(ended(file, plain).__class__(id=ContainerId("2"), name="a", image=""), log) == ""


# Engines


def test_an_engine_finds_again_what_it_was_asked_for() -> None:
    sandbox = SandboxSpec(
        uid="u-1",
        namespace="shop",
        name="web",
        hostname="web",
        address="",
        labels={"app": "x"},
        annotations={"a": "1"},
    )
    labels = containers.sandbox_labels(sandbox, "node-1")
    assert labels["app"] == "x"
    assert containers.annotations_of(labels) == {"a": "1"}
    spec = ContainerSpec(name="main", image="busybox", attempt=2, annotations={"k": "v"}, log_path="/l")
    found = containers.container_labels(spec, labels)
    assert (found[containers.POD_UID], found[containers.OWNER]) == ("u-1", "node-1")
    assert (found[containers.ATTEMPT], found[containers.LOG]) == ("2", "/l")
    assert containers.annotations_of(found) == {"k": "v"}
    assert containers.sandbox_name(sandbox) == "k8s_POD_web_shop_u-1"
    assert containers.container_name(spec, labels) == "k8s_main_web_shop_u-1_2"


@pytest.mark.parametrize(
    ("user", "image_user", "why"),
    [
        (0, "1000", "container's runAsUser breaks non-root policy"),
        (None, "", "image will run as root"),
        (None, "0:0", "image will run as root"),
        (None, "app", "non-numeric user"),
        (1000, "", None),
        (None, "1000:0", None),
    ],
)
def test_what_must_not_run_as_root_does_not(user: int | None, image_user: str, why: str | None) -> None:
    spec = ContainerSpec(name="main", image="", user=user, security=Security(non_root=True))
    if why is None:
        containers.check_non_root(spec, image_user)
        return
    with pytest.raises(BadContainerConfig, match=why):
        containers.check_non_root(spec, image_user)


def test_frames_are_put_together_however_they_arrive() -> None:
    sent = b"".join(
        struct.pack(">BxxxI", kind, len(text)) + text
        for kind, text in [(1, b"one"), (2, b"bad" * 100), (1, b"")]
    )
    for size in (1, 7, len(sent)):
        frames = containers.Frames()
        found: list[tuple[str, bytes]] = []
        for start in range(0, len(sent), size):
            found += frames.feed(sent[start : start + size])
        assert found == [("stdout", b"one"), ("stderr", b"bad" * 100)]


def test_a_score_below_our_own_is_given_only_by_those_who_may() -> None:
    assert containers.oom_score(None) is None
    assert containers.oom_score(1000) == 1000
    found = containers.oom_score(-997)
    assert found is not None
    assert found >= -997


def test_a_container_weighs_what_it_asks_for_at_most_what_a_processor_scheduler_takes() -> None:
    assert containers.cpu_shares(Resources(cpu_request=1000)) == 262_144
    assert containers.user_of(ContainerSpec(name="a", image="", user=5, group=6)) == "5:6"
    assert containers.user_of(ContainerSpec(name="a", image="", group=6)) == "0:6"
    assert containers.user_of(ContainerSpec(name="a", image="")) is None
