"""sig-network: what Services keep, lose and are given when they are made and when they change."""

import ipaddress
from typing import Any

import pytest

from tests.conformance.conftest import Api, Tree


@pytest.fixture
def services(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services"


def service(name: str = "s", **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def change(api: Api, path: str, **spec: Any) -> Tree:
    """Read, change and write back, as the published behaviours do: what is not named stays in the document."""
    current: Tree = api.get(path)
    for name, value in spec.items():
        if value is None:
            current["spec"].pop(name, None)
        else:
            current["spec"][name] = value
    changed: Tree = api.put(path, current)
    kept: Tree = changed["spec"]
    return kept


def test_a_service_has_an_address_and_its_family(api: Api, services: str) -> None:
    spec = api.create(services, service())["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert (spec["type"], spec["sessionAffinity"], spec["internalTrafficPolicy"]) == (
        "ClusterIP",
        "None",
        "Cluster",
    )
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]


def test_from_an_external_name_to_an_address_and_back(api: Api, services: str) -> None:
    api.create(
        services,
        {"metadata": {"name": "s"}, "spec": {"type": "ExternalName", "externalName": "foo.example.com"}},
    )
    spec = change(api, f"{services}/s", type="ClusterIP", externalName=None, ports=[{"port": 80}])
    assert spec["clusterIP"] and "externalName" not in spec
    spec = change(api, f"{services}/s", type="ExternalName", externalName="bar.example.com")
    assert (
        not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"} & spec.keys()
    )
    spec = change(api, f"{services}/s", type="NodePort", externalName=None)
    assert spec["clusterIP"] and spec["ports"][0]["nodePort"] and spec["externalTrafficPolicy"] == "Cluster"
    spec = change(api, f"{services}/s", type="ExternalName", externalName="bar.example.com")
    assert "nodePort" not in spec["ports"][0] and "externalTrafficPolicy" not in spec


def test_node_ports_come_and_go_with_the_type(api: Api, services: str) -> None:
    api.create(services, service())
    spec = change(api, f"{services}/s", type="NodePort")
    assert 30000 <= spec["ports"][0]["nodePort"] <= 32767
    address = spec["clusterIP"]
    spec = change(api, f"{services}/s", type="LoadBalancer")
    assert spec["allocateLoadBalancerNodePorts"] is True and spec["ports"][0]["nodePort"]
    spec = change(api, f"{services}/s", type="ClusterIP")
    assert "nodePort" not in spec["ports"][0] and spec["clusterIP"] == address
    assert not {"externalTrafficPolicy", "allocateLoadBalancerNodePorts"} & spec.keys()


def test_a_node_port_that_is_given_back_can_be_had_again(api: Api, services: str) -> None:
    port = [{"port": 80, "nodePort": 31234}]
    api.create(services, service("one", type="NodePort", ports=port))
    refused = api.create(services, service("two", type="NodePort", ports=port), status=422)
    assert refused["message"] == (
        'Service "two" is invalid: spec.ports[0].nodePort: Invalid value: 31234: provided port is already allocated'
    )
    change(api, f"{services}/one", type="ClusterIP")
    api.create(services, service("two", type="NodePort", ports=port))
    api.delete(f"{services}/two")
    api.create(services, service("three", type="NodePort", ports=port))


def test_one_node_port_serves_two_protocols(api: Api, services: str) -> None:
    ports = [
        {"name": "a", "port": 53, "protocol": "UDP", "nodePort": 31235},
        {"name": "b", "port": 53, "protocol": "TCP", "nodePort": 31235},
    ]
    assert api.create(services, service(type="NodePort", ports=ports))


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
         "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"),
        ({"ports": [{"port": 80, "nodePort": 30080}]}, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ({"clusterIP": "1.2.3.4"}, ("spec.clusterIPs: Invalid value: [\"1.2.3.4\"]: failed to allocate IP 1.2.3.4:"
         " the provided network does not match the current range")),
        ({"ipFamilyPolicy": "RequireDualStack"},
         'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ({"ports": []}, "spec.ports: Required value"),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        ({"type": "LoadBalancer", "clusterIP": "None"}, "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services"),
        ({"loadBalancerClass": "a.b/c"}, "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"),
        ({"externalTrafficPolicy": "Local"}, 'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'),
        ({"healthCheckNodePort": 30001}, ("spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and"
         " `externalTrafficPolicy` is 'Local'")),
        ({"sessionAffinity": "Always"}, 'spec.sessionAffinity: Unsupported value: "Always": supported values: "ClientIP", "None"'),
        ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name: Required value"),
        ({"externalIPs": ["127.0.0.1"]}, 'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(api: Api, services: str, spec: Tree, problem: str) -> None:
    refused = api.create(services, service(**spec), status=422)
    assert problem in refused["message"]
    assert refused["details"]["kind"] == "Service" and refused["details"]["name"] == "s"


def test_a_name_of_a_service_is_a_dns_label(api: Api, services: str) -> None:
    refused = api.create(services, service("1.a"), status=422)
    assert 'metadata.name: Invalid value: "1.a": must not contain dots' in refused["message"]


def test_an_address_stays(api: Api, services: str) -> None:
    made = api.create(services, service())
    other = made["spec"]["clusterIP"].rpartition(".")[0] + ".77"
    refused = api.patch(f"{services}/s", {"spec": {"clusterIP": other, "clusterIPs": [other]}}, status=422)
    assert f'spec.clusterIPs[0]: Invalid value: ["{other}"]: may not change once set' in refused["message"]
    replaced = api.put(f"{services}/s", service())
    assert replaced["spec"]["clusterIP"] == made["spec"]["clusterIP"]


def test_an_address_that_is_asked_for_is_had_once(api: Api, services: str) -> None:
    address = api.create(services, service("one"))["spec"]["clusterIP"]
    refused = api.create(services, service("two", clusterIP=address), status=422)
    assert "provided IP is already allocated" in refused["message"]
    api.delete(f"{services}/one")
    assert api.create(services, service("two", clusterIP=address))["spec"]["clusterIP"] == address


def test_a_headless_service_without_a_selector_is_for_any_family(api: Api, services: str) -> None:
    spec = api.create(services, service(clusterIP="None"))["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")
    spec = api.create(services, service("t", clusterIP="None", selector={"a": "b"}))["spec"]
    assert (spec["clusterIPs"], spec["ipFamilies"], spec["ipFamilyPolicy"]) == (
        ["None"],
        ["IPv4"],
        "SingleStack",
    )


def test_a_local_load_balancer_has_a_port_for_its_health(api: Api, services: str) -> None:
    spec = api.create(services, service(type="LoadBalancer", externalTrafficPolicy="Local"))["spec"]
    port = spec["healthCheckNodePort"]
    assert 30000 <= port <= 32767 and port != spec["ports"][0]["nodePort"]
    refused = api.patch(
        f"{services}/s", {"spec": {"healthCheckNodePort": port - 1 if port > 30000 else port + 1}}, status=422
    )
    assert "spec.healthCheckNodePort" in refused["message"] and "field is immutable" in refused["message"]
    assert "healthCheckNodePort" not in change(api, f"{services}/s", externalTrafficPolicy="Cluster")


def test_session_affinity_has_a_time(api: Api, services: str) -> None:
    spec = api.create(services, service(sessionAffinity="ClientIP"))["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    spec = change(api, f"{services}/s", sessionAffinity="None", sessionAffinityConfig=None)
    assert "sessionAffinityConfig" not in spec


def test_the_status_of_a_service_is_written_apart(api: Api, services: str) -> None:
    api.create(services, service(type="LoadBalancer"))
    body = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    assert api.patch(f"{services}/s/status", body)["status"]["loadBalancer"]["ingress"] == [
        {"ip": "203.0.113.1", "ipMode": "VIP"}
    ]
    body = {"status": {"loadBalancer": {"ingress": [{"ip": "nowhere"}]}}}
    refused = api.patch(f"{services}/s/status", body, status=422)
    assert "status.loadBalancer.ingress[0].ip: Invalid value" in refused["message"]


# Where addresses come from


def test_the_range_of_the_services_is_shown(api: Api) -> None:
    path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes"
    found = api.get(path)
    (condition,) = found["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
    (network,) = found["spec"]["cidrs"]
    assert ipaddress.ip_address(kubernetes(api)["spec"]["clusterIP"]) in ipaddress.ip_network(network)
    status = api.get(f"{path}/status")
    assert status["kind"] == "ServiceCIDR" and status["metadata"]["uid"] == found["metadata"]["uid"]


def kubernetes(api: Api) -> Tree:
    found: Tree = api.get("/api/v1/namespaces/default/services/kubernetes")
    return found


def test_the_api_server_is_a_service_with_endpoints(api: Api) -> None:
    seen = kubernetes(api)
    assert [(port["name"], port["protocol"]) for port in seen["spec"]["ports"]] == [("https", "TCP")]
    (subset,) = api.get("/api/v1/namespaces/default/endpoints/kubernetes")["subsets"]
    slices = api.get(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        labelSelector="kubernetes.io/service-name=kubernetes",
    )["items"]
    assert [slice_["metadata"]["name"] for slice_ in slices] == ["kubernetes"]
    assert [endpoint["addresses"] for endpoint in slices[0]["endpoints"]] == [
        [address["ip"]] for address in subset["addresses"]
    ]
    assert slices[0]["ports"][0]["port"] == subset["ports"][0]["port"]


def test_an_address_says_whose_it_is_for_as_long_as_it_is(api: Api, services: str, namespace: str) -> None:
    addresses = "/apis/networking.k8s.io/v1/ipaddresses"
    api.create(services, service("mine"))
    address = api.get(f"{services}/mine")["spec"]["clusterIP"]
    found = api.get(f"{addresses}/{address}")
    assert found["spec"]["parentRef"] == {"resource": "services", "namespace": namespace, "name": "mine"}
    assert found["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    api.patch(f"{services}/mine", {"spec": {"type": "ExternalName", "externalName": "example.com"}})
    api.gone(f"{addresses}/{address}")
    back = api.patch(f"{services}/mine", {"spec": {"type": "ClusterIP", "externalName": None}})
    address = back["spec"]["clusterIP"]
    assert api.get(f"{addresses}/{address}")
    api.delete(f"{services}/mine")
    api.gone(f"{addresses}/{address}")


def test_an_address_that_somebody_has_written_down_is_taken(api: Api, services: str) -> None:
    addresses = "/apis/networking.k8s.io/v1/ipaddresses"
    network = ipaddress.ip_network(kubernetes(api)["spec"]["clusterIP"] + "/24", strict=False)
    address = str(network[77])
    parent = {"group": "example.com", "resource": "machines", "name": "m"}
    api.create(addresses, {"metadata": {"name": address}, "spec": {"parentRef": parent}})
    refused = api.create(services, service("late", clusterIP=address), status=422)
    assert "provided IP is already allocated" in refused["message"]
    api.delete(f"{addresses}/{address}")
    api.create(services, service("late", clusterIP=address))


def test_policies_for_traffic_are_there_where_such_traffic_can_be(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    outside: Any = {"type": "ClusterIP", "ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}
    made = api.create(path, {"metadata": {"name": "outside"}, "spec": outside})
    assert made["spec"]["externalTrafficPolicy"] == "Cluster"
    for addresses, policy in (([], None), (["192.0.2.1"], "Cluster")):
        made["spec"]["externalIPs"] = addresses
        made = api.put(f"{path}/outside", made)
        assert made["spec"].get("externalTrafficPolicy") == policy
    elsewhere = {"type": "ExternalName", "externalName": "example.com", "internalTrafficPolicy": "Cluster"}
    made = api.create(path, {"metadata": {"name": "elsewhere"}, "spec": elsewhere})
    assert "internalTrafficPolicy" not in made["spec"]
    refused = api.create(
        path, {"metadata": {"name": "x"}, "spec": {**elsewhere, "internalTrafficPolicy": "odd"}}, status=422
    )
    assert refused["details"]["causes"][0]["field"] == "spec.internalTrafficPolicy"
