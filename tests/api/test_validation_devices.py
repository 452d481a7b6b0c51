"""Device classes, claims and slices: Kubernetes' rules and words, in tables."""

import copy
from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.defaults import apply_defaults
from kubelib.api.validation import validate_create, validate_update

Tree = dict[str, Any]
VERSION = "resource.k8s.io/v1"
EXACTLY: Tree = {"deviceClassName": "gpu.example.com"}
GOOD: dict[str, Tree] = {
    "DeviceClass": {
        "spec": {
            "selectors": [{"cel": {"expression": 'device.driver == "gpu.example.com"'}}],
            "config": [{"opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}],
            "extendedResourceName": "example.com/gpu",
        }
    },
    "ResourceClaim": {
        "spec": {
            "devices": {
                "requests": [
                    {"name": "a", "exactly": EXACTLY},
                    {"name": "b", "firstAvailable": [{"name": "c", "deviceClassName": "gpu.example.com"}]},
                ],
                "constraints": [{"requests": ["a", "b/c"], "matchAttribute": "gpu.example.com/model"}],
                "config": [
                    {"requests": ["b"], "opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}
                ],
            }
        }
    },
    "ResourceSlice": {
        "spec": {
            "driver": "gpu.example.com",
            "pool": {"name": "node-1/gpus", "generation": 1, "resourceSliceCount": 1},
            "nodeName": "node-1",
            "devices": [
                {
                    "name": "gpu-0",
                    "attributes": {
                        "model": {"string": "x"},
                        "gpu.example.com/version": {"version": "1.2.3-a.1+b"},
                    },
                    "capacity": {"memory": {"value": "40Gi"}},
                    "taints": [{"key": "example.com/broken", "effect": "NoSchedule"}],
                    "consumesCounters": [{"counterSet": "set", "counters": {"memory": {"value": "1"}}}],
                }
            ],
        }
    },
}


def put(holder: Any, path: str, value: Any) -> None:
    """Set one field, or remove it by `...`."""
    if not path:
        return
    *way, last = (int(step) if step.isdigit() else step for step in path.split("__"))
    for step in way:
        holder = holder[step]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value


def build(kind: str, path: str = "", value: Any = None) -> Tree:
    """Return a good document with one field set, or removed by `...`."""
    resource = SCHEME.kind(VERSION, kind)
    meta = {"name": "a", "resourceVersion": "1", **({"namespace": "default"} if resource.namespaced else {})}
    tree: Tree = {"apiVersion": VERSION, "kind": kind, "metadata": meta, **copy.deepcopy(GOOD[kind])}
    put(tree, path, value)
    apply_defaults(kind, tree)
    return tree


def problems(kind: str, path: str = "", value: Any = None) -> list[str]:
    tree = build(kind, path, value)
    del tree["metadata"]["resourceVersion"]
    return [str(problem) for problem in validate_create(SCHEME.kind(VERSION, kind), tree)]


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_document_is_accepted(kind: str) -> None:
    assert problems(kind) == []
    assert validate_update(SCHEME.kind(VERSION, kind), build(kind), build(kind)) == []


DEVICE = "spec__devices__0"
AT = "spec.devices[0]"
REQUEST = "spec__devices__requests__0"
IDENTIFIER = "a valid C identifier must start with alphabetic character or '_', followed by"


@pytest.mark.parametrize(
    ("kind", "path", "value", "problem"),
    [
        ("DeviceClass", "spec__config__0", {}, "spec.config[0].opaque: Required value"),
        ("DeviceClass", "spec__config__0__opaque__driver", "d" * 64, "spec.config[0].opaque.driver: Too long: may not be more than 63 bytes"),
        ("DeviceClass", "spec__config__0__opaque__parameters", [1],
         'spec.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object'),
        ("DeviceClass", "spec__config__0__opaque__parameters", {"a": "b" * 10240},
         "spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"),
        ("DeviceClass", "spec__config", [{}] * 33, "spec.config: Too many: 33: must have at most 32 items"),
        ("DeviceClass", "spec__extendedResourceName", "cpu", 'spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name'),
        ("ResourceClaim", REQUEST, {"name": "a"}, "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"),
        ("ResourceClaim", REQUEST, {"name": "a", "exactly": EXACTLY, "firstAvailable": [{"name": "x", **EXACTLY}]},
         'spec.devices.requests[0]: Invalid value: "null": exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set'),
        ("ResourceClaim", f"{REQUEST}__name", "b", 'spec.devices.requests[1]: Duplicate value: "b"'),
        ("ResourceClaim", f"{REQUEST}__exactly__tolerations", [{"operator": "Exists", "value": "x"}],
         'spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "x": must be empty for operator `Exists`'),
        ("ResourceClaim", f"{REQUEST}__exactly__tolerations", [{"operator": "Near"}],
         'spec.devices.requests[0].exactly.tolerations[0].operator: Unsupported value: "Near": supported values: "Equal", "Exists"'),
        ("ResourceClaim", f"{REQUEST}__exactly__tolerations", [{"operator": "Exists", "effect": "Never"}],
         'spec.devices.requests[0].exactly.tolerations[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None"'),
        ("ResourceClaim", "spec__devices__constraints__0__requests", ["b/d"],
         ('spec.devices.constraints[0].requests[0]: Invalid value: "b/d": must be the name of a request in the claim or the name of a request and a'
         " subrequest separated by '/'")),
        ("ResourceClaim", "spec__devices__constraints__0__requests", ["a", "a"], 'spec.devices.constraints[0].requests[1]: Duplicate value: "a"'),
        ("ResourceClaim", "spec__devices__constraints__0__matchAttribute", "model",
         'spec.devices.constraints[0].matchAttribute: Invalid value: "model": a fully qualified name must be a domain and a name separated by a slash'),
        ("ResourceClaim", "spec__devices__constraints__0__matchAttribute", ...,
         'spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'),
        ("ResourceSlice", "spec__driver", "", "spec.driver: Required value"),
        ("ResourceSlice", "spec__pool__name", "a//b", 'spec.pool.name: Invalid value: "": a lowercase RFC 1123 subdomain'),
        ("ResourceSlice", "spec__pool__resourceSliceCount", 0, "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"),
        ("ResourceSlice", "spec__nodeName", ..., "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"),
        ("ResourceSlice", "spec__nodeName", "", 'spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string'),
        ("ResourceSlice", "spec__allNodes", True,
         ('spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required,'
         " but multiple fields are set")),
        ("ResourceSlice", "spec__allNodes", False, "spec.allNodes: Invalid value: false: must be either unset or set to true"),
        ("ResourceSlice", "spec__sharedCounters", [{"name": "s", "counters": {"a": {"value": "1"}}}],
         'spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'),
        ("ResourceSlice", "spec__devices", [{"name": "a"}] * 129, "spec.devices: Too many: 129: must have at most 128 items"),
        ("ResourceSlice", "spec__devices", [{"name": "a", "taints": [{"key": "a", "effect": "None"}]}] * 65,
         "spec.devices: Too many: 65: must have at most 64 items"),
        ("ResourceSlice", f"{DEVICE}__name", "A", f'{AT}.name: Invalid value: "A": a lowercase RFC 1123 label'),
        ("ResourceSlice", f"{DEVICE}__attributes", {"a-b": {"int": 1}}, f'{AT}.attributes: Invalid value: "a-b": {IDENTIFIER}'),
        ("ResourceSlice", f"{DEVICE}__attributes", {"/a": {"int": 1}}, f'{AT}.attributes: Invalid value: "": the domain must not be empty'),
        ("ResourceSlice", f"{DEVICE}__attributes", {"a.b/": {"int": 1}}, f'{AT}.attributes: Invalid value: "": the name must not be empty'),
        ("ResourceSlice", f"{DEVICE}__attributes", {"a" * 33: {"int": 1}}, f"{AT}.attributes: Too long: may not be more than 32 bytes"),
        ("ResourceSlice", f"{DEVICE}__attributes", {"a": {}}, f'{AT}.attributes[a]: Invalid value: "": exactly one value must be specified'),
        ("ResourceSlice", f"{DEVICE}__attributes", {"a": {"int": 1, "bool": True}},
         f'{AT}.attributes[a]: Invalid value: {{"int":1,"bool":true}}: exactly one value must be specified'),
        ("ResourceSlice", f"{DEVICE}__attributes", {"a": {"version": "1.2"}},
         f'{AT}.attributes[a].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0'),
        ("ResourceSlice", f"{DEVICE}__attributes", {"a": {"string": "s" * 65}}, f"{AT}.attributes[a].string: Too long: may not be more than 64 bytes"),
        ("ResourceSlice", f"{DEVICE}__attributes", {f"a{n}": {"int": n} for n in range(32)},
         f"{AT}: Invalid value: 33: the total number of attributes and capacities must not exceed 32"),
        ("ResourceSlice", f"{DEVICE}__capacity", {"m": {"value": "1", "requestPolicy": {}}},
         f"{AT}.capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"),
        ("ResourceSlice", f"{DEVICE}__taints", [{"key": "a"}], f"{AT}.taints[0].effect: Required value"),
        ("ResourceSlice", f"{DEVICE}__taints", [{"key": "", "effect": "None"}], f'{AT}.taints[0].key: Invalid value: ""'),
        ("ResourceSlice", f"{DEVICE}__consumesCounters", [{"counterSet": "s", "counters": {}}], f"{AT}.consumesCounters[0].counters: Required value"),
        ("ResourceSlice", f"{DEVICE}__consumesCounters", [{"counterSet": "s", "counters": {"a": {"value": "1"}}}] * 3,
         f"{AT}.consumesCounters: Too many: 3: must have at most 2 items"),
        ("ResourceSlice", f"{DEVICE}__nodeName", "n",
         (f'{AT}: Invalid value: "null": `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the'
         " ResourceSlice spec")),
        ("ResourceSlice", f"{DEVICE}__bindingConditions", ["a"],
         f"{AT}.bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(kind: str, path: str, value: Any, problem: str) -> None:
    found = problems(kind, path, value)
    assert any(one.startswith(problem) for one in found), found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, []),
        ({"default": "1", "validValues": ["1", "2"]}, []),
        ({"validValues": ["1"]}, [".default: Required value: required when validValues is defined"]),
        ({"default": "3", "validValues": ["1", "2"]}, ['.validValues: Invalid value: "3": default value is not valid according to the requestPolicy']),
        ({"default": "1", "validValues": ["2", "1"]}, ['.validValues[1]: Invalid value: "1": values must be sorted in ascending order']),
        ({"default": "1", "validValues": ["1", "99"]}, ['.validValues[1]: Invalid value: "99": option is larger than capacity value: 10']),
        ({"default": "2", "validRange": {"min": "2", "max": "8", "step": "2"}}, []),
        ({"default": "2", "validRange": {"min": "3"}}, ['.validRange.min: Invalid value: "2": default is less than min: 3']),
        ({"default": "9", "validRange": {"min": "3", "max": "8"}}, ['.validRange.max: Invalid value: "9": default is more than max: 8']),
        ({"default": "3", "validRange": {"min": "2", "step": "2"}},
         ['.validRange.step: Invalid value: "3": value is not a multiple of a given step (2) from (2)']),
        ({"default": "2", "validRange": {"min": "2", "step": "9"}}, ['.validRange.step: Invalid value: "9": one step 11 is larger than capacity value: 10']),
        ({"validRange": {"min": "2"}}, [".default: Required value: required when validRange is defined"]),
        ({"default": "1", "validValues": ["1"], "validRange": {"min": "1"}},
         [': Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time']),
    ],
)  # fmt: skip
def test_what_may_be_asked_of_a_shared_device_makes_sense(policy: Tree, expected: list[str]) -> None:
    device = {"name": "d", "allowMultipleAllocations": True, "capacity": {"m": {"value": "10", "requestPolicy": policy}}}  # fmt: skip
    found = problems("ResourceSlice", DEVICE, device)
    assert found == [f"{AT}.capacity[m].requestPolicy{one}" for one in expected]


def test_devices_may_each_have_a_place_of_their_own() -> None:
    tree = build("ResourceSlice", "spec__nodeName", ...)
    tree["spec"]["perDeviceNodeSelection"] = True
    kind = SCHEME.kind(VERSION, "ResourceSlice")
    [problem] = validate_create(kind, tree)
    assert str(problem) == (
        f"{AT}: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when"
        " `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
    )
    tree["spec"]["devices"][0]["allNodes"] = True
    assert validate_create(kind, tree) == []


def test_driver_pool_and_node_of_a_slice_stay() -> None:
    new = build("ResourceSlice", "spec__nodeName", "node-2")
    new["spec"]["driver"], new["spec"]["pool"]["name"] = "other.example.com", "other"
    found = validate_update(SCHEME.kind(VERSION, "ResourceSlice"), new, build("ResourceSlice"))
    assert {p.field for p in found} == {"spec.pool.name", "spec.driver", "spec.nodeName"}
    assert {p.message.rpartition(": ")[2] for p in found} == {"field is immutable"}


ALLOCATED: Tree = {
    "allocation": {
        "devices": {
            "results": [{"request": "a", "driver": "gpu.example.com", "pool": "p", "device": "gpu-0"}],
            "config": [
                {"source": "FromClass", "opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}
            ],
        }
    },
    "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
    "devices": [
        {
            "driver": "gpu.example.com",
            "pool": "p",
            "device": "gpu-0",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Works",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
            "data": {"a": 1},
            "networkData": {"interfaceName": "eth0", "ips": ["10.0.0.5/24"], "hardwareAddress": "aa:bb"},
        }
    ],
}
RESULT = "allocation__devices__results__0"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("", None, ""),
        ("allocation", ..., "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"),
        ("reservedFor__0__uid", "", "status.reservedFor[0].uid: Required value"),
        (f"{RESULT}__request", "z", 'status.allocation.devices.results[0].request: Invalid value: "z": must be the name of a request'),
        (f"{RESULT}__pool", "", "status.allocation.devices.results[0].pool: Required value"),
        ("allocation__devices__config__0__source", "FromSky",
         'status.allocation.devices.config[0].source: Unsupported value: "FromSky": supported values: "FromClaim", "FromClass"'),
        ("devices__0__device", "gpu-1", 'status.devices[0]: Invalid value: "gpu.example.com/p/gpu-1": must be an allocated device in the claim'),
        ("devices__0__data", [1], 'status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object'),
        ("devices__0__conditions__0__status", "Maybe",
         'status.devices[0].conditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"'),
        ("devices__0__conditions__0__reason", "", "status.devices[0].conditions[0].reason: Required value: must be set"),
        ("devices__0__conditions__0__reason", "not so", 'status.devices[0].conditions[0].reason: Invalid value: "not so": a condition reason must start'),
        ("devices__0__conditions__0__lastTransitionTime", ..., "status.devices[0].conditions[0].lastTransitionTime: Required value: must be set"),
        ("devices__0__networkData__ips", ["10.0.0.05/24"],
         'status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.05/24": must be in canonical form ("10.0.0.5/24")'),
        ("devices__0__networkData__ips", ["10.0.0.5"],
         'status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.5": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)'),
        ("devices__0__networkData__interfaceName", "e" * 257, "status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes"),
    ],
)  # fmt: skip
def test_what_is_allocated_for_a_claim_is_checked(path: str, value: Any, problem: str) -> None:
    old, new = build("ResourceClaim"), build("ResourceClaim")
    new["status"] = copy.deepcopy(ALLOCATED)
    put(new["status"], path, value)
    found = validate_update(SCHEME.kind(VERSION, "ResourceClaim"), new, old, subresource="status")
    texts = [str(one) for one in found]
    assert any(one.startswith(problem) for one in texts) if problem else texts == []


def test_an_allocation_stays_and_a_claim_that_goes_is_reserved_for_nobody_else() -> None:
    old, new = build("ResourceClaim"), build("ResourceClaim")
    old["status"], new["status"] = copy.deepcopy(ALLOCATED), copy.deepcopy(ALLOCATED)
    new["metadata"]["deletionTimestamp"] = old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new["status"]["allocation"]["devices"]["results"][0]["device"] = "gpu-1"
    new["status"]["devices"] = []
    new["status"]["reservedFor"].append({"resource": "pods", "name": "q", "uid": "v"})
    found = validate_update(SCHEME.kind(VERSION, "ResourceClaim"), new, old, subresource="status")
    assert {p.field for p in found} == {"status.reservedFor", "status.allocation"}
    assert "new entries may not be added while" in found[0].message
