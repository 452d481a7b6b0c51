"""The node agent in virtual time: Pods that it does not admit, and limits that it sets."""

import anyio
import pytest

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ContainerPort
from kubelib.api.core.pod import Pod, PodDNSConfig
from kubelib.api.core.security import AppArmorProfile, SecurityContext
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.runtime.admittance import apparmor_refusal
from kubelib.testing.objects import make_pod
from tests.runtime.agent.watching import is_running
from tests.runtime.conftest import SimNode, container


async def test_a_pod_whose_host_port_is_taken_is_turned_away_for_good(node: SimNode) -> None:
    def with_port(address: str) -> tuple[ContainerDefinition, ...]:
        port = ContainerPort(container_port=80, host_port=8080, host_ip=address, protocol="TCP")
        return (replace(container(), ports=(port,)),)

    await node.run("first", containers=with_port("127.0.0.1"))
    await node.until(is_running, name="first")
    await node.run("beside", containers=with_port("127.0.0.2"))
    await node.until(is_running, name="beside")
    await node.run("second", containers=with_port(""))
    refused = await node.until(lambda p: p.status.phase == "Failed", name="second")
    await node.client.resource(Pod).delete(Key("default", "first"), grace=0)
    await node.client.resource(Pod).delete(Key("default", "beside"), grace=0)
    await anyio.sleep(30)
    refused = await node.pod("second")
    assert (refused.status.phase, refused.status.reason) == ("Failed", "NodePorts")
    assert refused.status.message == (
        "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    )
    assert await node.events("NodePorts")
    await node.run("third", containers=with_port(""))
    await node.until(is_running, name="third")


async def test_servers_of_names_beyond_what_resolvers_ask_are_left_out_and_told(idle: SimNode) -> None:
    idle.settings["cluster_dns"] = ("10.96.0.10",)
    async with idle.running():
        servers = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
        await idle.run(dns_config=PodDNSConfig(nameservers=servers))
        await idle.until(is_running)
        [event] = await idle.events("DNSConfigForming")
    assert event.message.endswith("the applied nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2")


async def test_a_pod_that_is_to_ask_servers_that_the_cluster_does_not_have_is_told_so(idle: SimNode) -> None:
    async with idle.running():
        idle.agent.keeps_hosts = True
        pod = await idle.run()
        await idle.run("plain", dns_policy="Default")
        for name in ("a", "plain"):
            await idle.until(is_running, name=name)
        await anyio.sleep(1)
        [event] = await idle.events("MissingClusterDNS")
    assert event.message == (
        f'pod: "a_default({pod.metadata.uid})". kubelet does not have ClusterDNS IP configured and cannot create'
        ' Pod using "ClusterFirst" policy. Falling back to "Default" policy.'
    )


async def test_containers_may_have_as_many_processes_as_the_node_says(idle: SimNode) -> None:
    idle.settings["pids_limit"] = 64
    async with idle.running():
        await idle.run()
        await idle.until(is_running)
        assert idle.spec_of("main").resources.pids == 64


async def test_a_pod_that_wants_what_the_machine_or_its_runtime_has_not_is_told_so(
    idle: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle.runtime, "user_namespaces", False, raising=False)
    async with idle.running():
        await idle.run(host_users=False)
        with anyio.fail_after(60):
            while not await idle.events("FailedCreatePodSandBox"):
                await anyio.sleep(0.1)
        [event] = await idle.events("FailedCreatePodSandBox")
        why = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
        assert event.message == f"Failed to create pod sandbox: {why}"
        monkeypatch.setattr(idle.runtime, "user_namespaces", True)
        await idle.until(lambda pod: pod.status.phase == "Running")


@pytest.mark.parametrize(
    ("kind", "enabled", "refused"),
    [
        ("RuntimeDefault", False, True),
        ("RuntimeDefault", True, False),
        ("Unconfined", False, False),
    ],
)
def test_a_profile_of_apparmor_needs_a_machine_that_has_it(kind: str, enabled: bool, refused: bool) -> None:
    context = SecurityContext(app_armor_profile=AppArmorProfile(type=kind))
    pod = make_pod("a", containers=(container(security_context=context),))
    found = apparmor_refusal(pod, enabled=enabled)
    assert (found is not None) is refused
    if found is not None:
        assert found.status["reason"] == "AppArmor"
        assert found.message == "Cannot enforce AppArmor: AppArmor is not enabled on the host"
