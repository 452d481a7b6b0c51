import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.environment import (
    ConfigMapEnvSource,
    ConfigMapKeySelector,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    FileKeySelector,
    SecretEnvSource,
    SecretKeySelector,
)
from kubelib.api.core.projections import ObjectFieldSelector, ResourceFieldSelector
from kubelib.api.core.service import Service, ServicePort
from kubelib.runtime.environment import ConfigMissing, environment, expand, service_variables
from kubelib.testing.objects import make_pod, make_service
from tests.runtime.conftest import Configuration, SimNode, container


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("a$(A)b$(B)c", "a1b2c"),
        ("$(NO)", "$(NO)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("$", "$"),
        ("$$", "$"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$(C)", "$(A)"),
        ("100%$", "100%$"),
        ("$(a name, relaxed)", "3"),
        ("$(A)$(", "1$("),
    ],
)
def test_references_are_replaced_once_and_can_be_escaped(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2", "C": "$(A)", "a name, relaxed": "3"}) == expected


@given(st.text(alphabet="ab$()A "), st.dictionaries(st.sampled_from(["A", "AA", "aA"]), st.text(max_size=3)))
def test_text_without_dollars_is_itself_and_escaped_text_is_what_it_was(
    text: str, variables: Mapping[str, str]
) -> None:
    assert expand(text.replace("$", ""), variables) == text.replace("$", "")
    assert expand(text.replace("$", "$$"), variables) == text


def service(name: str, *ports: ServicePort, namespace: str = "default", ip: str = "127.96.0.9") -> Service:
    return make_service(name, namespace, ports=ports, cluster_ip=ip)


def test_a_service_is_told_of_in_both_forms() -> None:
    web = service(
        "my-web", ServicePort(name="http-alt", port=80), ServicePort(name="dns", port=53, protocol="UDP")
    )
    assert service_variables([web]) == {
        "MY_WEB_SERVICE_HOST": "127.96.0.9",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP_ALT": "80",
        "MY_WEB_SERVICE_PORT_DNS": "53",
        "MY_WEB_PORT": "tcp://127.96.0.9:80",
        "MY_WEB_PORT_80_TCP": "tcp://127.96.0.9:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "127.96.0.9",
        "MY_WEB_PORT_53_UDP": "udp://127.96.0.9:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "127.96.0.9",
    }
    assert (
        service_variables([service("headless", ServicePort(port=1), ip="None"), service("none", ip="")]) == {}
    )


async def variables(
    source: Configuration, spec: ContainerDefinition, services: list[Service] | None = None, **pod: Any
) -> dict[str, str]:
    made = make_pod("a", labels={"app": "web"}, uid="the-uid", containers=(spec,), node="node-1", **pod)
    return await environment(made, spec, source, services or [], address="127.244.0.2", host="127.0.0.1")


@pytest.fixture
def source(configuration: Configuration) -> Configuration:
    configuration.config_maps["settings"] = ConfigMap(data={"COLOUR": "blue", "SIZE": "9"})
    configuration.secrets["key"] = Secret(data={"TOKEN": base64.b64encode(b"secret").decode()})
    return configuration


async def test_whole_sources_come_before_single_variables_which_may_refer_to_those_before(
    source: Configuration,
) -> None:
    spec = container(
        env_from=(
            EnvFromSource(config_map_ref=ConfigMapEnvSource(name="settings")),
            EnvFromSource(prefix="S_", secret_ref=SecretEnvSource(name="key")),
        ),
        env=(
            EnvVar(name="SIZE", value="10"),
            EnvVar(name="ALL", value="$(COLOUR)-$(SIZE)-$(S_TOKEN)-$(LATER)"),
            EnvVar(name="LATER", value="x"),
        ),
    )
    found = await variables(source, spec)
    assert (found["COLOUR"], found["SIZE"], found["S_TOKEN"]) == ("blue", "10", "secret")
    assert found["ALL"] == "blue-10-secret-$(LATER)"


async def test_single_values_come_from_keys_fields_and_resources(source: Configuration) -> None:
    def of(name: str, **what: Any) -> EnvVar:
        return EnvVar(name=name, value_from=EnvVarSource(**what))

    spec = container(
        resources=ResourceRequirements(limits={"cpu": "250m", "memory": "1Gi"}, requests={"cpu": "100m"}),
        env=(
            of("C", config_map_key_ref=ConfigMapKeySelector(name="settings", key="COLOUR")),
            of("S", secret_key_ref=SecretKeySelector(name="key", key="TOKEN")),
            of("NO", config_map_key_ref=ConfigMapKeySelector(name="no", key="x", optional=True)),
            of("NAME", field_ref=ObjectFieldSelector(field_path="metadata.name")),
            of("IP", field_ref=ObjectFieldSelector(field_path="status.podIP")),
            of("HOST", field_ref=ObjectFieldSelector(field_path="status.hostIP")),
            of("NODE", field_ref=ObjectFieldSelector(field_path="spec.nodeName")),
            of("APP", field_ref=ObjectFieldSelector(field_path="metadata.labels['app']")),
            of("CPU", resource_field_ref=ResourceFieldSelector(resource="limits.cpu")),
            of("MILLI", resource_field_ref=ResourceFieldSelector(resource="requests.cpu", divisor="1m")),
            of("MEMORY", resource_field_ref=ResourceFieldSelector(resource="limits.memory", divisor="1Mi")),
        ),
    )
    found = await variables(source, spec)
    assert {name: found.get(name) for name in ("C", "S", "NO", "NAME", "IP", "HOST", "NODE", "APP")} == {
        "C": "blue",
        "S": "secret",
        "NO": None,
        "NAME": "a",
        "IP": "127.244.0.2",
        "HOST": "127.0.0.1",
        "NODE": "node-1",
        "APP": "web",
    }
    assert (found["CPU"], found["MILLI"], found["MEMORY"]) == ("1", "100", "1024")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"env_from": (EnvFromSource(config_map_ref=ConfigMapEnvSource(name="no")),)},
            'configmap "no" not found',
        ),
        ({"env_from": (EnvFromSource(secret_ref=SecretEnvSource(name="no")),)}, 'secret "no" not found'),
        (
            {
                "env": (
                    EnvVar(
                        name="X",
                        value_from=EnvVarSource(
                            config_map_key_ref=ConfigMapKeySelector(name="settings", key="no")
                        ),
                    ),
                )
            },
            "couldn't find key no in ConfigMap default/settings",
        ),
    ],
)
async def test_what_is_missing_is_named(source: Configuration, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigMissing, match=message):
        await variables(source, container(**spec))


@pytest.mark.parametrize(
    ("of", "found"),
    [
        ({"key": "HOST"}, "db.example"),
        ({"key": "no", "optional": True}, None),
        ({"key": "no"}, 'environment variable key "no" not found in file ".*/file"'),
        ({"key": "HOST", "path": "no", "optional": True}, "couldn't parse env file"),
        ({"key": "HOST", "path": "bad"}, "couldn't parse env file"),
        ({"key": "HOST", "volume_name": "no"}, 'cannot find the volume "no" referenced by FileKeyRef'),
    ],
)
async def test_a_variable_may_come_from_a_file_in_a_volume(
    source: Configuration, tmp_path: Path, of: dict[str, Any], found: str | None
) -> None:
    (tmp_path / "file").write_text("HOST='db.example'\n")
    (tmp_path / "bad").write_text("HOST=db.example\n")
    reference = FileKeySelector(**{"volume_name": "made", "path": "file", **of})
    given = EnvVar(name="X", value_from=EnvVarSource(file_key_ref=reference))
    pod = make_pod("a", containers=(container(env=(given,)),))
    made = environment(
        pod, pod.spec.containers[0], source, [], address="", host="", volumes={"made": tmp_path}
    )
    if found is None or found == "db.example":
        assert (await made).get("X") == found
    else:
        with pytest.raises(ConfigMissing, match=found):
            await made


async def test_services_of_the_own_namespace_are_told_of_unless_unwanted_and_the_api_always(
    source: Configuration,
) -> None:
    services = [
        service("web", ServicePort(port=80)),
        service("kubernetes", ServicePort(port=443)),
        service("other", ServicePort(port=80), namespace="elsewhere"),
    ]
    wanted = await variables(source, container(), services)
    assert "WEB_SERVICE_HOST" in wanted and "KUBERNETES_SERVICE_HOST" in wanted
    assert "OTHER_SERVICE_HOST" not in wanted
    unwanted = await variables(source, container(), services, enable_service_links=False)
    assert "WEB_SERVICE_HOST" not in unwanted and "KUBERNETES_SERVICE_HOST" in unwanted


@pytest.mark.parametrize("namespace", ["apps", "test"])  # whichever the order of the namespaces is
@pytest.mark.parametrize(("links", "address"), [(True, "10.0.0.2"), (False, "10.0.0.1")])
async def test_a_service_of_the_own_namespace_comes_before_the_api_of_the_same_name(
    source: Configuration, namespace: str, links: bool, address: str
) -> None:
    own = service("kubernetes", ServicePort(port=443), namespace=namespace, ip="10.0.0.2")
    api = service("kubernetes", ServicePort(port=6443), ip="10.0.0.1")
    for services in ([own, api], [api, own]):
        found = await variables(
            source, container(), services, namespace=namespace, enable_service_links=links
        )
        assert found["KUBERNETES_SERVICE_HOST"] == address
        assert ("KUBERNETES_PORT_443_TCP" in found) is links
    headless = service("kubernetes", ServicePort(port=443), namespace=namespace, ip="None")
    found = await variables(source, container(), [api, headless], namespace=namespace)
    assert found["KUBERNETES_SERVICE_HOST"] == "10.0.0.1"


async def test_limits_that_a_container_does_not_have_are_its_pods_or_what_the_node_has(
    source: Configuration,
) -> None:
    def of(name: str, resource: str, **more: Any) -> EnvVar:
        reference = ResourceFieldSelector(resource=resource, **more)
        return EnvVar(name=name, value_from=EnvVarSource(resource_field_ref=reference))

    spec = container(
        resources=ResourceRequirements(limits={"cpu": "250m"}),
        env=(
            of("CPU", "limits.cpu", divisor="1m"),
            of("MEMORY", "limits.memory", divisor="1Mi"),
            of("ASKED", "requests.memory"),
            of("FIRST", "limits.memory", container_name="first", divisor="1Mi"),
        ),
    )
    first = container("first", resources=ResourceRequirements(limits={"memory": "32Mi"}))
    whole = ResourceRequirements(limits={"memory": "512Mi"})
    allocatable = {"cpu": "4", "memory": "8Gi"}
    for resources, memory in ((None, "8192"), (whole, "512")):
        made = make_pod("a", containers=(spec,), init_containers=(first,), resources=resources)
        found = await environment(made, spec, source, [], address="", host="", allocatable=allocatable)
        shown = {name: found[name] for name in ("CPU", "MEMORY", "ASKED", "FIRST")}
        assert shown == {"CPU": "250", "MEMORY": memory, "ASKED": "0", "FIRST": "32"}


async def test_commands_and_arguments_refer_to_the_environment(node: SimNode) -> None:
    spec = container(
        command=("run", "--name=$(NAME)", "$$(NAME)"),
        args=("$(NAME)", "$(NO)"),
        env=(EnvVar(name="NAME", value="web"),),
    )
    await node.run(containers=(spec,))
    await node.until(lambda p: p.status.phase == "Running")
    started = node.spec_of("main")
    assert list(started.command) == ["run", "--name=web", "$(NAME)"]
    assert list(started.args) == ["web", "$(NO)"]
